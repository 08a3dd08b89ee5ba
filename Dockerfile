# One image per component: `docker build --target overseer|worker|operator|client .`; and `hanas`, worker, overseer and client in one,
# which is what the operator runs (docs/image.md).
# Plain Dockerfile syntax, so that the classic builder, BuildKit and buildah all take it.
ARG BASE_IMAGE=python:3.13-slim

# What every component needs to be built, and nothing of which stays in the image.
FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
WORKDIR /build

# Who the components run as: a number, so that Kubernetes can tell that it is not root.
FROM ${BASE_IMAGE} AS base
RUN echo 'hanas:x:65532:65532:HANas:/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'hanas:x:65532:' >> /etc/group \
 && mkdir --mode=0770 /communication /secrets \
 && chown 65532:65532 /communication /secrets
ENV PATH=/opt/hanas/bin:$PATH \
    PYTHONPATH=/opt/hanas \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    COMMUNICATION_FOLDER=/communication
USER 65532:65532
WORKDIR /

FROM build AS build-overseer
COPY requirements/overseer.txt ./
RUN pip install --no-compile --only-binary=:all: --no-deps --require-hashes --target=/opt/hanas -r overseer.txt \
 && rm -rf /opt/hanas/bin && mkdir /opt/hanas/bin \
 && printf '#!/usr/bin/env python\nimport sys\n\nfrom hanas_overseer.__main__ import main\n\nsys.exit(main())\n' > /opt/hanas/bin/hanas-overseer \
 && chmod 0755 /opt/hanas/bin/hanas-overseer
COPY LICENSE core/ serving/ overseer/ /opt/hanas/
ARG VERSION=0.1.0
RUN mkdir "/opt/hanas/hanas-$VERSION.dist-info" \
 && printf 'Metadata-Version: 2.4\nName: hanas\nVersion: %s\n' "$VERSION" > "/opt/hanas/hanas-$VERSION.dist-info/METADATA" \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/hanas

FROM base AS overseer
COPY --from=build-overseer /opt/hanas /opt/hanas
EXPOSE 4000
ENTRYPOINT ["hanas-overseer"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="HANas overseer" \
      org.opencontainers.image.description="Arbitration, events and dashboard of HANas, a highly available key-value store on a shared folder" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM build AS build-worker
COPY requirements/worker.txt ./
RUN pip install --no-compile --only-binary=:all: --no-deps --require-hashes --target=/opt/hanas -r worker.txt \
 && rm -rf /opt/hanas/bin && mkdir /opt/hanas/bin \
 && printf '#!/usr/bin/env python\nimport sys\n\nfrom hanas_worker.__main__ import main\n\nsys.exit(main())\n' > /opt/hanas/bin/hanas-worker \
 && chmod 0755 /opt/hanas/bin/hanas-worker
COPY LICENSE core/ serving/ worker/ /opt/hanas/
ARG VERSION=0.1.0
RUN mkdir "/opt/hanas/hanas-$VERSION.dist-info" \
 && printf 'Metadata-Version: 2.4\nName: hanas\nVersion: %s\n' "$VERSION" > "/opt/hanas/hanas-$VERSION.dist-info/METADATA" \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/hanas

FROM base AS worker
COPY --from=build-worker /opt/hanas /opt/hanas
EXPOSE 3001 4001
ENTRYPOINT ["hanas-worker"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="HANas worker" \
      org.opencontainers.image.description="A main or backup of HANas, a highly available key-value store on a shared folder" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The command `hanas`, to be run beside a cluster; and the Python client, for a script that is mounted.
FROM build AS build-client
COPY requirements/client.txt ./
RUN pip install --no-compile --only-binary=:all: --no-deps --require-hashes --target=/opt/hanas -r client.txt \
 && rm -rf /opt/hanas/bin && mkdir /opt/hanas/bin \
 && printf '#!/usr/bin/env python\nimport sys\n\nfrom hanas_client.cli import main\n\nsys.exit(main())\n' > /opt/hanas/bin/hanas \
 && chmod 0755 /opt/hanas/bin/hanas
COPY LICENSE core/ client/ /opt/hanas/
COPY serving/hanas_serving/__init__.py serving/hanas_serving/certificates.py serving/hanas_serving/events.py \
     serving/hanas_serving/facts.py serving/hanas_serving/settings.py serving/hanas_serving/tls_files.py \
     /opt/hanas/hanas_serving/
ARG VERSION=0.1.0
RUN mkdir "/opt/hanas/hanas-$VERSION.dist-info" \
 && printf 'Metadata-Version: 2.4\nName: hanas\nVersion: %s\n' "$VERSION" > "/opt/hanas/hanas-$VERSION.dist-info/METADATA" \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/hanas

FROM base AS client
COPY --from=build-client /opt/hanas /opt/hanas
ENTRYPOINT ["hanas"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="HANas client" \
      org.opencontainers.image.description="The command hanas and the Python client of HANas, a highly available key-value store on a shared folder" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The worker's requirements contain the overseer's, and what it has in common with the client is the same (tests check
# it). The command `hanas` is for Jobs that back up and restore, and for `kubectl exec`.
FROM worker AS hanas
COPY --from=build-overseer /opt/hanas/bin/hanas-overseer /opt/hanas/bin/
COPY --from=build-overseer /opt/hanas/hanas_overseer /opt/hanas/hanas_overseer
COPY --from=build-client /opt/hanas /opt/hanas
EXPOSE 4000
LABEL org.opencontainers.image.title="HANas" \
      org.opencontainers.image.description="Worker and overseer of HANas, a highly available key-value store on a shared folder"

FROM build AS build-operator
COPY requirements/operator.txt ./
RUN pip install --no-compile --only-binary=:all: --no-deps --require-hashes --target=/opt/hanas -r operator.txt \
 && rm -rf /opt/hanas/bin && mkdir /opt/hanas/bin \
 && printf '#!/usr/bin/env python\nimport sys\n\nfrom hanas_operator.__main__ import main\n\nsys.exit(main())\n' > /opt/hanas/bin/hanas-operator \
 && chmod 0755 /opt/hanas/bin/hanas-operator
COPY LICENSE core/ serving/ operator/ /opt/hanas/
ARG VERSION=0.1.0
# The client's models and typed calls are not used, or hardly; their bytecode would be a fifth of the image.
RUN mkdir "/opt/hanas/hanas-$VERSION.dist-info" \
 && printf 'Metadata-Version: 2.4\nName: hanas\nVersion: %s\n' "$VERSION" > "/opt/hanas/hanas-$VERSION.dist-info/METADATA" \
 && python -m compileall -q --invalidation-mode unchecked-hash -x 'kubernetes/(aio/)?client/(api|models)/' /opt/hanas

FROM base AS operator
COPY --from=build-operator /opt/hanas /opt/hanas
EXPOSE 8080
ENTRYPOINT ["hanas-operator"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="HANas operator" \
      org.opencontainers.image.description="Runs HANas, a highly available key-value store on a shared folder, on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
