# syntax=docker/dockerfile:1
# Backstay's image: packages are put together in the first stage; the last holds Python, them, and nothing that builds.
# A digest pins the base: --build-arg PYTHON_DIGEST=@sha256:... Another base (Debian's own Python, a mirror): --build-arg BASE=...
ARG PYTHON_TAG=3.13-slim-bookworm
ARG PYTHON_DIGEST=
ARG BASE=python:${PYTHON_TAG}${PYTHON_DIGEST}

FROM ${BASE} AS build
# A base whose Python comes without its headers needs python3-dev besides.
ARG COMPILER="gcc libc6-dev"
# mypyc compiles the hot path of Backstay here; the compiler stays in this stage. Of busybox one file is taken along.
# hadolint ignore=DL3008,SC2086
RUN apt-get update && apt-get install --yes --no-install-recommends ${COMPILER} busybox-static && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# The environment itself gets no pip: that is in one beside it.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/backstay
ENV HATCH_BUILD_HOOK_ENABLE_MYPYC=1 CFLAGS=-g0
WORKDIR /src
COPY requirements/constraints.txt requirements/constraints.txt
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
# Every module is compiled to bytecode here, since the root file system may be read-only. Wheels come with the symbols of
# their libraries: a third of all that is added to the base.
RUN /opt/pip/bin/pip --python /opt/backstay/bin/python install --constraint requirements/constraints.txt . \
 && /opt/backstay/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/backstay/lib \
 && find /opt/backstay/lib -name '*.so' -exec strip --strip-unneeded {} +

FROM ${BASE}
# nft: `backstay redirect`, in an init container of this image. The base image's pip is of no use, except to an intruder.
# Its standard library comes without bytecode: under a read-only root it would be compiled at each start.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends nftables && rm -rf /var/lib/apt/lists/* \
 && rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash \
      -x '/(test|idlelib|tkinter|turtledemo|lib2to3|pydoc_data|ensurepip|config-.*|(site|dist)-packages)/' \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && mkdir -p /etc/backstay \
 && install -d -o 7070 -g 7070 -m 0700 /var/lib/backstay /var/lib/backstay/ca \
 && install -d -o 7070 -g 7070 -m 0755 /var/run/backstay /var/run/backstay/trust /var/run/backstay/tools
# Static: `backstay prepare` hands it to init containers of images that have no shell.
COPY --from=build /bin/busybox /usr/lib/backstay/busybox
COPY --from=build /opt/backstay /opt/backstay
ENV PATH=/opt/backstay/bin:${PATH} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="backstay" \
      org.opencontainers.image.description="A resilience sidecar for AI-agent tool traffic" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Numeric, so that Kubernetes can tell that it is not root. Of its own: agents often are 1000 or 65532.
USER 7070:7070
WORKDIR /
# 7070 the agent's traffic; 9464 metrics and probes.
EXPOSE 7070 9464
# Where it listens elsewhere: --at HOST:PORT. Kubernetes asks /readyz itself.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["backstay", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["backstay"]
CMD ["run", "/etc/backstay"]
