#!/bin/sh
# Checks a binary that was built with the feature `cuda`, on a machine without a GPU: it needs none of NVIDIA's libraries to start, and
# says what is missing when a GPU is asked for. usage: check_cuda.sh BINARY
set -eu
binary=$1
if readelf --dynamic "$binary" | grep -E 'NEEDED.*lib(cu|nvrtc)'; then
    echo "$binary needs these libraries to start: add the functions to stages/kernels/src/cuda/libraries/functions.rs" >&2
    exit 1
fi
"$binary" --version
if [ -e /dev/nvidiactl ]; then
    echo "This machine has an NVIDIA driver: what happens without one is not checked"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
cat >"$folder/one.toml" <<'TOML'
name = "one"
[stage.init]
backbone = "small"
dimension = 4
TOML
if answer=$(cd "$folder" && "$binary" one.toml --device cuda 2>&1); then
    echo "A run on a GPU succeeded on a machine without one" >&2
    exit 1
fi
echo "$answer" | grep -q 'libcuda.so.1.*install the driver' || {
    echo "Without a driver, \`--device cuda\` does not say that the driver is missing:" >&2
    echo "$answer" >&2
    exit 1
}
echo "Without a driver: $(echo "$answer" | grep -m 1 'libcuda.so.1')"
