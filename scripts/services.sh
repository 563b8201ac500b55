#!/usr/bin/env bash
# Installs what the tests start by themselves, and no Python package carries. Called by `make test` and
# `make test-compiled`; silent when it is there.
#
#   redis-server            the shared store: there is no test of it without one
#   nft, iptables, ip       network namespaces and redirected connections: those tests are skipped, loudly, without them
#   curl, openssl           clients and peers of the tests of TLS
#   prometheus, promtool    the tests of rules and dashboards are skipped, loudly, without them
#   vmagent                 finds pods in Kubernetes, for which Debian's prometheus has no client; the same
set -euo pipefail

declare -A package=(
  [redis-server]=redis-server [nft]=nftables [iptables]=iptables [ip]=iproute2 [curl]=curl [openssl]=openssl
  [prometheus]=prometheus [promtool]=prometheus [vmagent]=victoria-metrics
)
missing=()
for program in "${!package[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
[ ${#missing[@]} = 0 ] && exit

cannot() {
  echo "the tests start programs of their own; $1" >&2
  case " ${missing[*]} " in *" redis-server "*) exit 1 ;; *) exit 0 ;; esac
}

command -v apt-get >/dev/null || cannot "install ${missing[*]}, so that they are in the path"
# No service is started: neither by the scripts of System V, nor by systemd.
as_root=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 SYSTEMD_OFFLINE=1)
if [ "$(id -u)" != 0 ]; then
  sudo -n true 2>/dev/null || cannot "sudo apt-get install ${missing[*]}"
  as_root=(sudo -n "${as_root[@]}")
fi
echo "installing ${missing[*]} ..."
"${as_root[@]}" apt-get update -qq >/dev/null
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
