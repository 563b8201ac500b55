#!/usr/bin/env bash
# Installs what a bench takes from Debian. Called by `make bench`, and with "conformance" by `make conformance`;
# silent when all is there.
set -euo pipefail

missing=()
[ -x /usr/sbin/nginx ] || missing+=(nginx-light)
[ -x /usr/sbin/varnishd ] || missing+=(varnish)
if [ "${1:-}" = conformance ]; then
  [ -x /usr/sbin/squid ] || missing+=(squid)
  command -v npm >/dev/null || missing+=(nodejs npm)
else
  command -v wrk >/dev/null || missing+=(wrk)
  [ -x /usr/sbin/haproxy ] || missing+=(haproxy)
  command -v redis-server >/dev/null || missing+=(redis-server)
fi
command -v taskset >/dev/null || missing+=(util-linux)
[ "${#missing[@]}" = 0 ] && exit

as_root=()
if [ "$(id -u)" != 0 ]; then
  sudo -n true 2>/dev/null || { echo "the bench needs: sudo apt-get install ${missing[*]}" >&2; exit 1; }
  as_root=(sudo -n)
fi
echo "installing ${missing[*]} ..."
# The packages would start their services; the bench starts its own on free ports.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
"${as_root[@]}" apt-get update -qq >/dev/null
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
