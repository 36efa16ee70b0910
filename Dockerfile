# dnc-run in a container. How to use it: docs/src/how-to/install.md.
#
#   docker build --tag dnc-run .                                                       the program and Debian's shell, for the CPU
#   docker build --tag dnc-run --target program .                                      the program alone; stages of kind `command` have no shell
#   docker build --tag dnc-run --target cuda --build-arg CUDA_COMPUTE_CAP=90 .         for NVIDIA GPUs
#
# The program does the same on every base, because it is linked statically (not for CUDA, whose libraries are loaded at run time).
ARG RUST=1.95
ARG DEBIAN=bookworm

FROM rust:${RUST}-${DEBIAN} AS source
WORKDIR /src
COPY . .

FROM source AS static
RUN cargo rustc --release --locked --package dnc-run --bin dnc-run -- -C target-feature=+crt-static \
    && strip -o /dnc-run target/release/dnc-run

# NVIDIA's compiler and libraries come from PyPI, as `make cuda` gets them on any machine.
FROM source AS build-cuda
ARG CUDA_COMPUTE_CAP=90
RUN apt-get update && apt-get install --yes --no-install-recommends python3-pip \
    && PIP_BREAK_SYSTEM_PACKAGES=1 make cuda CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP} \
    && strip -o /dnc-run target/cuda/release/dnc-run

FROM debian:${DEBIAN}-slim AS cuda
COPY --from=build-cuda /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# Where the program looks for them at last: DNC_CUDA_LIBRARIES of the build.
COPY --from=build-cuda /src/target/cuda/toolkit/libraries /src/target/cuda/toolkit/libraries
COPY --from=build-cuda /dnc-run /usr/local/bin/
# The container toolkit passes in the driver and the cards.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /work
ENTRYPOINT ["dnc-run"]

FROM scratch AS program
COPY --from=static /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=static /dnc-run /usr/local/bin/
ENV PATH=/usr/local/bin
WORKDIR /tmp
WORKDIR /work
ENTRYPOINT ["dnc-run"]

FROM debian:${DEBIAN}-slim AS cpu
COPY --from=static /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=static /dnc-run /usr/local/bin/
WORKDIR /work
ENTRYPOINT ["dnc-run"]
