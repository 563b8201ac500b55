#!/usr/bin/env bash
# Installs the clients of `make test-clients` as agents have them: into a Python and two Nodes of their own, under .cache/clients.
# Versions are those of requirements/clients.txt and of the lock files in tests/clients/node*; the Nodes are npm packages.
set -euo pipefail
cd "$(dirname "$0")/.."
into=.cache/clients
mkdir -p "$into"

need() {
  command -v "$1" >/dev/null || { echo "make test-clients needs $1 ($2)" >&2; exit 1; }
}
need npm "it comes with Node: apt-get install npm"
need ip "apt-get install iproute2"
need nft "apt-get install nftables"
need setpriv "apt-get install util-linux"
need curl "apt-get install curl"
need wget "apt-get install wget"

.venv/bin/python -m venv "$into/python"
"$into/python/bin/pip" -qq --disable-pip-version-check --no-input install --progress-bar off -r requirements/clients.txt
for node in node24 node20; do
  mkdir -p "$into/$node"
  cp "tests/clients/$node/package.json" "tests/clients/$node/package-lock.json" "$into/$node/"
  (cd "$into/$node" && npm ci --silent --no-audit --no-fund)
done
