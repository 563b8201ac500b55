#!/usr/bin/env bash
# Makes .venv with a Python of 3.11 or later; says nothing unless something is missing.
# Called by the Makefile, on a machine that may have no more than python3, make and git.
set -euo pipefail
cd "$(dirname "$0")/.."

recent_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if recent_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  echo "backstay needs Python 3.11 or later; set PYTHON=/path/to/python3 if it has another name" >&2
  exit 1
}

make_venv() {
  # Debian splits ensurepip off into python3-venv, and leaves half a .venv behind when it is missing.
  "$1" -m venv .venv >/dev/null 2>&1 || { rm -rf .venv; return 1; }
}

install_venv_module() {
  local as_root=()
  if ! command -v apt-get >/dev/null; then
    return 1
  fi
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || return 1
    as_root=(sudo -n)
  fi
  echo "installing python3-venv (Debian keeps it apart from python3) ..." >&2
  "${as_root[@]}" apt-get update -qq >/dev/null
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
}

python="$(find_python)"
if ! make_venv "$python"; then
  if ! install_venv_module || ! make_venv "$python"; then
    echo "$python cannot make a virtual environment; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2
    exit 1
  fi
fi
