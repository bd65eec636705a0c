# One image: the program, and the Postgres that it starts where LONGHAUL_DATABASE_URL names none.
#
#   docker build -t longhaul --build-arg VERSION="$(git describe --tags --always)" .
#
# Where no registry can be reached (make test-container does this by itself): BASE and GO are a
# local image of Debian 12, and PREBUILT=longhaul takes the program that `make build` left.
ARG BASE=debian:bookworm-slim
ARG GO=golang:1.26.8-bookworm

FROM ${GO} AS build
ARG PREBUILT=
WORKDIR /src
COPY go.mod go.sum ./
RUN [ -n "${PREBUILT}" ] || go mod download
COPY . .
ARG VERSION=dev
RUN if [ -n "${PREBUILT}" ]; then cp "${PREBUILT}" /longhaul; else \
      CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /longhaul .; fi

FROM ${BASE}
# Postgres by its number: what a volume holds can be opened only by the version that made it.
# Debian's own cluster is not wanted. ca-certificates: Oracle Cloud is asked over https.
RUN mkdir -p /etc/postgresql-common/createcluster.d \
 && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.d/none.conf \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates postgresql-15 tzdata \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
RUN groupadd --gid 10001 longhaul \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/longhaul --shell /usr/sbin/nologin longhaul \
 && install -d -o longhaul -g longhaul -m 0700 /var/lib/longhaul
COPY --from=build /longhaul /usr/local/bin/longhaul

# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
# A container has a loopback of its own, which nobody outside reaches: here it listens on all of
# its addresses, and who may reach them is decided by what is published: -p 127.0.0.1:8080:8080
# keeps it to the machine.
ENV LONGHAUL_DATA=/var/lib/longhaul LONGHAUL_ADDR=0.0.0.0:8080 LONGHAUL_ALLOW_REMOTE=true
VOLUME /var/lib/longhaul
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=6s --start-period=60s --retries=3 CMD ["longhaul", "health"]
# No init is needed as process 1: Postgres waits for its own children, and nothing else here
# leaves orphans. SIGTERM stops in order, Postgres last.
STOPSIGNAL SIGTERM
ENTRYPOINT ["longhaul"]
CMD ["serve"]
