# syntax=docker/dockerfile:1

# The compiler, on the Debian release of the runtime image: both must carry the same glibc.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
# C library, libgcc, CA certificates and user 65532 "nonroot", and no shell. Pin it by digest where images have to be
# reproducible.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# The target folder is a cache mount and is gone after the step, so the binary is copied out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --locked --release --package vaultsync --bin vaultsync \
    && install -D -m 0755 target/release/vaultsync /out/vaultsync

FROM ${RUNTIME_IMAGE}
COPY --from=build /out/vaultsync /vaultsync
# By number: runAsNonRoot cannot be checked against a name.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/vaultsync"]
CMD ["run"]
