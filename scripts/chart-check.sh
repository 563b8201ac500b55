#!/usr/bin/env bash
# Lints the chart, renders it, checks the configuration in it, and proves that bad values are refused. $1 is a helm binary.
set -euo pipefail
cd "$(dirname "$0")/.."
helm="$1"
chart=charts/backstay
values=(--set config.apis.stripe.url=https://api.stripe.com --set config.apis.stripe.mount=/stripe)

"$helm" lint --quiet --strict "$chart"
rendered="$("$helm" template agent "$chart" --set example.enabled=true "${values[@]}")"

expect() {
  grep -qF -- "$1" <<<"$rendered" || { echo "the rendered chart lacks: $1" >&2; exit 1; }
}
expect "url: https://api.stripe.com"
expect "name: backstay"
expect "path: /readyz"
expect "path: /healthz"
expect "readOnlyRootFilesystem: true"
expect "runAsNonRoot: true"
expect "containerPort: 9464"

# What is in the ConfigMap is a configuration: the image would start with it.
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"$helm" template agent "$chart" --show-only templates/configmap.yaml "${values[@]}" \
  | .venv/bin/python -c 'import sys, yaml; print(yaml.safe_load(sys.stdin)["data"]["backstay.yaml"])' > "$folder/backstay.yaml"
.venv/bin/backstay check "$folder" > /dev/null

refused() {
  if "$helm" template agent "$chart" "$@" >/dev/null 2>&1; then
    echo "the chart's schema accepts: $*" >&2
    exit 1
  fi
}
refused --set config.version=2
refused --set image.digest=latest
refused --set nonsense=1
echo "chart: lints, renders, refuses bad values"
