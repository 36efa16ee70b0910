#!/bin/sh
# Builds the emulated GPU into a folder: NVIDIA's libraries by name, which compute on the CPU. usage: build.sh FOLDER
set -eu
here=$(dirname "$0")
mkdir -p "$1"
sources=
for name in threads kernels candle driver arrays blas dnn dnn_graph; do
    sources="$sources $here/$name.cpp"
done
# shellcheck disable=SC2086 # A list of names.
${CXX:-g++} -std=c++17 -O3 -fPIC -shared -Wl,-Bsymbolic -o "$1/libemulated-gpu.so" $sources
for name in libcuda.so.1 libcublas.so.13 libcublasLt.so.13 libcurand.so.10 libcudnn.so.9; do
    ln -sf libemulated-gpu.so "$1/$name"
done
