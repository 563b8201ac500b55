#!/usr/bin/env bash
# Installs what the tests start by themselves, and no Python package carries: redis-server.
# Called by `make test` and `make test-compiled`; silent when it is there.
set -euo pipefail

command -v redis-server >/dev/null && exit

cannot() {
  echo "the tests of the shared store start a redis-server of their own; $1" >&2
  exit 1
}

command -v apt-get >/dev/null || cannot "install one (Redis 6 or later), so that it is in the path"
# No service is started: neither by the scripts of System V, nor by systemd.
as_root=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 SYSTEMD_OFFLINE=1)
if [ "$(id -u)" != 0 ]; then
  sudo -n true 2>/dev/null || cannot "sudo apt-get install redis-server"
  as_root=(sudo -n "${as_root[@]}")
fi
echo "installing redis-server ..."
"${as_root[@]}" apt-get update -qq >/dev/null
"${as_root[@]}" apt-get install -y -qq --no-install-recommends redis-server >/dev/null
