#!/usr/bin/env bash
# Builds the image from the Dockerfile, and runs what is named after it: `make test-pod`. The base is put together from
# Debian's packages, and the wheels are fetched beforehand: neither a registry of images nor an index is asked by the build.
# What is slow is kept below .cache/pod, and in podman's storage. What this machine cannot do is said loudly, and skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
into="$PWD/.cache/pod"
suite=bookworm python=3.11  # of the base
base="localhost/backstay-base:$suite" image=localhost/backstay:pod
export CONTAINERS_CONF="$into/containers.conf"
mkdir -p "$into"

cannot() {
  echo "SKIPPED: make test-pod, all of it: $1" >&2
  exit 0
}

install_engine() {
  local program missing=()
  for program in podman buildah debootstrap; do
    PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || missing+=("$program")
  done
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || cannot "there is no ${missing[*]}, and no apt-get to install it"
  echo "installing ${missing[*]} ..."
  apt-get update -qq >/dev/null
  # runc: crun refuses where both versions of cgroups are mounted. catatonit, netavark: podman's pods and networks.
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    podman buildah debootstrap runc catatonit netavark iptables >/dev/null || cannot "${missing[*]} cannot be installed"
}

# A container's limits may not be above those that this shell has: a sandbox's root may not raise them, as podman would.
configure() {
  cat >"$CONTAINERS_CONF" <<CONF
[containers]
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "$1"
CONF
}

choose_runtime() {
  local runtime
  for runtime in crun runc; do
    configure "$runtime"
    podman run --rm --network none "$base" true 2>"$into/$runtime.log" && return
  done
  cat "$into"/crun.log "$into"/runc.log >&2
  cannot "neither crun nor runc can start a container here"
}

# As the official image has it: without documentation, without bytecode, and apt leaves nothing behind.
make_base() {
  podman image exists "$base" && return
  if [ ! -e "$into/$suite.tar" ]; then
    echo "making the base from Debian $suite ..."
    rm -rf "$into/root"
    PATH="$PATH:/usr/sbin" debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
      "$suite" "$into/root" >"$into/debootstrap.log" 2>&1 || { tail -5 "$into/debootstrap.log" >&2; cannot "debootstrap failed"; }
    cat >"$into/root/etc/apt/apt.conf.d/docker-clean" <<'CONF'
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
CONF
    tar -C "$into/root" -cf "$into/new.tar" --exclude='./dev/*' --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' \
      --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude=__pycache__ .
    mv "$into/new.tar" "$into/$suite.tar"
    rm -rf "$into/root"
  fi
  podman import --change "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$into/$suite.tar" "$base" >/dev/null 2>"$into/import.log" || { cat "$into/import.log" >&2; cannot "podman import failed"; }
}

# What is installed, and what builds it. A marker is judged by the Python that asks, which may have another patch level.
fetch_wheels() {
  local wanted
  wanted="$(.venv/bin/python - <<'PYTHON'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
pins = open("requirements/constraints.txt").read().splitlines()
older = [pin.split(";")[0] for pin in pins if "python_full_version <" in pin]
print(*project["project"]["dependencies"], *project["build-system"]["requires"], *hook["dependencies"], *older, sep="\n")
PYTHON
)"
  if [ -e "$into/wheels/.wanted" ] && diff -q <(cat - requirements/constraints.txt <<<"$wanted") "$into/wheels/.wanted" >/dev/null; then
    return
  fi
  echo "fetching wheels ..."
  rm -rf "$into/wheels"
  .venv/bin/pip -qq --disable-pip-version-check --no-input download --progress-bar off --only-binary=:all: \
    --python-version "$python" -c requirements/constraints.txt -d "$into/wheels" -r <(echo "$wanted")
  cat - requirements/constraints.txt <<<"$wanted" >"$into/wheels/.wanted"
}

build() {
  printf '[global]\nno-index = true\nfind-links = /wheels\n' >"$into/pip.conf"
  echo "building the image ..."
  # chroot: a sandbox may refuse the namespaces of a build. docker: the form that knows HEALTHCHECK.
  buildah bud --layers --isolation chroot --network host --format docker --tag "$image" \
    --volume "$into/pip.conf:/etc/pip.conf:ro" --volume "$into/wheels:/wheels:ro" \
    --build-arg BASE="$base" --build-arg COMPILER="gcc libc6-dev python3-dev" . >"$into/build.log" 2>&1 \
    || { tail -40 "$into/build.log" >&2; return 1; }
}

[ "$(id -u)" = 0 ] || cannot "podman's pods with networks of their own want root"
install_engine
configure runc
make_base
choose_runtime
fetch_wheels
build
"$@"
