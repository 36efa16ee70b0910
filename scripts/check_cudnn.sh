#!/bin/sh
# Checks the plans of convolutions with real cuDNN on a machine without a GPU: runs the unit tests `cuda::dnn::` of dnc-kernels, which choose
# engines for a card that is described by its properties. In place of the driver there is a library whose functions do nothing.
# usage: check_cudnn.sh TEST_BINARY LIBRARIES_FOLDER
# LIBRARIES_FOLDER has cuDNN and cuBLAS in `nvidia/*/lib`, as NVIDIA's Python packages do.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
binary=$1
device=${DNC_CUDNN_DEVICE:-$here/../stages/kernels/tests/fixtures/cudnn/h200.json}
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
paths=$folder
for libraries in "$2"/nvidia/*/lib; do
    paths=$paths:$(cd "$libraries" && pwd)
done

# The driver's functions are looked up by name, so that their names are text in the libraries.
for library in "$2"/nvidia/*/lib/lib*.so.*; do
    grep -aoE '\bcu[A-Z][A-Za-z0-9_]{2,60}' "$library" || true
done | LC_ALL=C sort -u >"$folder/names"
# There is no device (100). The other functions are never called with an effect.
sed -e 's/.*/int &(void) { return 0; }/' -e 's/^\(int cuInit(void) { return \)0/\1100/' "$folder/names" >"$folder/driver.c"
${CC:-cc} -w -shared -fPIC -fno-builtin -Wl,-soname,libcuda.so.1 -o "$folder/libcuda.so.1" "$folder/driver.c"

DNC_CUDNN_DEVICE=$device LD_LIBRARY_PATH=$paths "$binary" cuda::dnn:: --nocapture --test-threads 1 2>&1 | tee "$folder/answer"
if ! grep -qE '^test result: ok\. [1-9]' "$folder/answer"; then
    echo "The plans of cuDNN are not as the tests demand, or no test was run" >&2
    exit 1
fi
if grep -q 'skipped: DNC_CUDNN_DEVICE' "$folder/answer"; then
    echo "The tests were skipped" >&2
    exit 1
fi
