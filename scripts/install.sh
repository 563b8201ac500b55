#!/usr/bin/env bash
# Installs packages, pinned, for $1, a python: `scripts/install.sh .venv/bin/python -e '.[dev]'`. Called by the makefile.
# By uv, which takes seconds where pip takes a minute; by pip where uv cannot be had, or does not find the index that pip
# is configured for. What is wrong with a package is then pip's to say. Bytecode is made at once, as pip does: where the
# environment forbids it to be written later, each start of a process would compile all that it imports.
set -euo pipefail
cd "$(dirname "$0")/.."
python="$1" pins=requirements/constraints.txt
shift
pip=(.venv/bin/pip -qq --disable-pip-version-check --no-input)

quickly() {
  [ -x .venv/bin/uv ] || "${pip[@]}" install uv
  .venv/bin/uv --quiet pip install --compile-bytecode --python "$python" -c "$pins" "$@"
}

(quickly "$@") 2>/dev/null || "${pip[@]}" --python "$python" install --progress-bar off -c "$pins" "$@"
