# syntax=docker/dockerfile:1
# Backstay's image: packages are put together in the first stage; the last holds Python, them, and nothing that builds.
# A digest pins the base: --build-arg PYTHON_DIGEST=@sha256:...
ARG PYTHON_TAG=3.13-slim-bookworm
ARG PYTHON_DIGEST=

FROM python:${PYTHON_TAG}${PYTHON_DIGEST} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# mypyc compiles the hot path of Backstay here; the compiler stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ENV HATCH_BUILD_HOOK_ENABLE_MYPYC=1 CFLAGS=-g0
WORKDIR /src
COPY requirements/constraints.txt requirements/constraints.txt
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
# The environment itself gets no pip. Every module is compiled here, since the root file system may be read-only.
RUN python -m venv --without-pip /opt/backstay \
 && pip --python /opt/backstay/bin/python install --constraint requirements/constraints.txt . \
 && /opt/backstay/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/backstay/lib

FROM python:${PYTHON_TAG}${PYTHON_DIGEST}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="backstay" \
      org.opencontainers.image.description="A resilience sidecar for AI-agent tool traffic" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# nft: `backstay redirect`, in an init container of this image. The base image's pip is of no use, except to an intruder.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends nftables && rm -rf /var/lib/apt/lists/* \
 && rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip \
 && mkdir -p /etc/backstay \
 && install -d -o 65532 -g 65532 -m 0700 /var/lib/backstay /var/lib/backstay/ca \
 && install -d -o 65532 -g 65532 -m 0755 /var/run/backstay /var/run/backstay/trust
COPY --from=build /opt/backstay /opt/backstay
ENV PATH=/opt/backstay/bin:${PATH} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Numeric, so that Kubernetes can tell that it is not root.
USER 65532:65532
WORKDIR /
# 7070 the agent's traffic; 9464 metrics and probes.
EXPOSE 7070 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["backstay"]
CMD ["run", "/etc/backstay"]
