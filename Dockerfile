# The image is the product: `dinp` and what it needs, nothing that builds or installs.
# `make pin` adds the digest for a release.
ARG BASE=python:3.14.8-slim-trixie

FROM ${BASE} AS build
WORKDIR /src
# Dependencies first: they change less often than the code, so this layer is mostly cached.
COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv --without-pip /opt/dinp \
 && pip --python /opt/dinp/bin/python3 install --no-cache-dir --no-compile --no-deps --require-hashes --only-binary :all: \
      -r requirements.lock \
 && python3 -m venv /build \
 && /build/bin/pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY webhook webhook
COPY certs certs
COPY keeper keeper
COPY scripts scripts
# The root file system is read-only at run time, where Python could not keep what it compiles.
# unchecked-hash: valid whatever time stamps the files get.
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
 && pip --python /opt/dinp/bin/python3 install --no-cache-dir --no-compile --no-deps --no-index /wheel/dinp-*.whl \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/dinp

FROM ${BASE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dinp" \
      org.opencontainers.image.description="A Kubernetes mutating admission webhook that gives Pods a Docker daemon" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The base image brings pip, and the standard library without compiled files.
RUN stdlib="$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && rm -rf "$stdlib/ensurepip" "$stdlib"/site-packages/pip* /usr/local/bin/pip* \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/(test|tests|idlelib|lib2to3)/' "$stdlib"
COPY --from=build /opt/dinp /opt/dinp
ENV PATH=/opt/dinp/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number: runAsNonRoot cannot judge a name.
USER 65532:65532
WORKDIR /
ENTRYPOINT ["dinp"]
# Flags by their environment twins (DINP_SERVE_TLS_CERT_FILE and so on), or as arguments.
CMD ["serve"]
