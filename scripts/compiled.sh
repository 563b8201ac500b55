#!/usr/bin/env bash
# Makes .cache/compiled: an environment with the wheel whose hot path mypyc has compiled, as the image has it.
# Called by `make bench` and `make test-compiled`. The source tree stays clean: a compiled module beside its
# source would be imported instead of it, whatever the source says later.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.cache/compiled work=.cache/compiled-src

has_headers() { python3 -c 'import os, sysconfig; raise SystemExit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))'; }

install_compiler() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || { echo "compiling needs: sudo apt-get install gcc libc6-dev python3-dev" >&2; exit 1; }
    as_root=(sudo -n)
  fi
  echo "installing a C compiler ..."
  "${as_root[@]}" apt-get update -qq >/dev/null
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends gcc libc6-dev python3-dev >/dev/null
}

command -v gcc >/dev/null && has_headers || install_compiler
echo "compiling the hot path ..."
rm -rf "$work" "$venv"
mkdir -p "$work"
cp -R proxy pyproject.toml README.md LICENSE "$work"
# Python's own flags ask for debug information: it doubles the time, and nobody reads it.
CFLAGS=-g0 HATCH_BUILD_HOOK_ENABLE_MYPYC=1 .venv/bin/pip -qq --disable-pip-version-check --no-input \
  wheel --no-deps -w "$work/dist" "./$work"
.venv/bin/python -m venv --without-pip "$venv"
scripts/install.sh "$venv/bin/python" "$@" "$work"/dist/*.whl
rm -rf "$work"
