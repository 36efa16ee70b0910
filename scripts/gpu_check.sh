#!/bin/sh
# Checks and measures on a machine with an NVIDIA GPU, in at most seven minutes and without a network, what `make gpu-bundle` packed:
# the parity tests of all operations and backbones, equal bits of repeated runs, the quickstart twice, and the benchmark, beside PyTorch's
# if a script is given. usage: gpu_check.sh [FOLDER FOR RESULTS]
#
# CUDA's libraries are found through LD_LIBRARY_PATH; where `python3` has PyTorch, those that PyTorch brought are added.
# PEER=bench_torch_cuda.py measures PyTorch in turns with us. SECONDS_LIMIT is the limit in seconds, 420 unless given.
# Writes results.jsonl, one JSON object a line, and the output of each step. Exits with 1 if a check failed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/out}
mkdir -p "$out"
out=$(cd "$out" && pwd)
limit=${SECONDS_LIMIT:-420}
device=${DEVICE:-cuda:0}
start=$(date +%s)
results=$out/results.jsonl
: >"$results"
failed=0

left() { echo $((limit - $(date +%s) + start)); }
say() { echo "[$(($(date +%s) - start)) s] $*"; }
record() { echo "$1" >>"$results"; }

# step NAME SECONDS COMMAND…: runs a command with its output in NAME.txt and records how it ended; 99 if there is no time for it.
step() {
    name=$1 most=$2
    shift 2
    if [ "$(left)" -lt 5 ]; then
        record "{\"step\": \"$name\", \"status\": \"no time left\"}"
        say "$name: no time left"
        return 99
    fi
    [ "$(left)" -lt "$most" ] && most=$(left)
    began=$(date +%s)
    timeout "$most" "$@" >"$out/$name.txt" 2>&1
    code=$?
    took=$(($(date +%s) - began))
    record "{\"step\": \"$name\", \"code\": $code, \"seconds\": $took}"
    say "$name: code $code in $took s"
    return $code
}

# 1 Environment: the libraries of PyTorch, the card, versions.
torch=$(python3 -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' 2>/dev/null)
for folder in ${torch:+"$torch"/nvidia/*/lib}; do
    [ -d "$folder" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
done
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" DNC_TEST_DEVICE=$device
{
    nvidia-smi
    echo "LD_LIBRARY_PATH=$LD_LIBRARY_PATH"
    python3 -c 'import torch; print("torch", torch.__version__, "cudnn", torch.backends.cudnn.version())'
    "$here/dnc-run" --version
    lscpu | grep -E 'Model name|^CPU\(s\)'
} >"$out/environment.txt" 2>&1
card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
record "{\"step\": \"environment\", \"card\": \"$card\", \"torch\": \"$torch\"}"
say "card: ${card:-none}"

# 2 Correctness: each binary of tests on the card; where one fails, again with candle's operations instead of our kernels, which tells
# whose fault it is. The tests of equal bits and of precisions are among those of `gpu`.
tests_of() {
    crate=$1 name=$2 most=$3
    CARGO_MANIFEST_DIR=$here/$crate step "test-$name" "$most" "$here/tests/$name" --test-threads 1 --nocapture
    code=$?
    summary=$(grep '^test result' "$out/test-$name.txt" | tail -n 1)
    record "{\"test\": \"$name\", \"kernels\": \"cuda\", \"summary\": \"$summary\", \"skipped\": $(grep -c '^skipped' "$out/test-$name.txt")}"
    say "  $summary"
    grep -E '^test .*FAILED|panicked at|skipped' "$out/test-$name.txt" | head -n 20
    [ $code -eq 0 ] || [ $code -eq 99 ] && return
    failed=1
    CARGO_MANIFEST_DIR=$here/$crate DNC_CUDA_KERNELS=candle step "test-$name-candle" "$most" "$here/tests/$name" --test-threads 1
    summary=$(grep '^test result' "$out/test-$name-candle.txt" | tail -n 1)
    record "{\"test\": \"$name\", \"kernels\": \"candle\", \"summary\": \"$summary\"}"
}
tests_of stages/kernels gpu 40
tests_of stages/kernels parity 30
tests_of stages/kernels properties 60
tests_of stages/kernels strided 20
tests_of stages/learn models_parity 60

# 3 The quickstart twice, each with an empty store: equal digests, and R@1 beside the CPU's.
quickstart() {
    folder=$out/quickstart-$1
    mkdir -p "$folder"
    cp -r "$here/pipelines/." "$folder"
    (cd "$folder" && step "quickstart-$1" 90 "$here/dnc-run" quickstart.toml --device "$device" --progress plain)
    code=$?
    [ $code -eq 0 ] || failed=1
    return $code
}
# The loop of `step` writes below $out, which is absolute.
if quickstart 1 && quickstart 2; then
    python3 - "$out" >"$out/quickstart.txt" 2>&1 <<'PY'
import glob, json, sys
runs = [json.load(open(glob.glob(f"{sys.argv[1]}/quickstart-{n}/runs/*/1/run.json")[0])) for n in (1, 2)]
nodes = [{node["node"]: node.get("outputs") for node in run["nodes"]} for run in runs]
different = sorted(name for name in nodes[0] if nodes[0][name] != nodes[1].get(name))
record = {"check": "quickstart", "nodes": len(nodes[0]), "different": different, "arithmetic": runs[0]["arithmetic"],
          "seconds": [run["seconds"] for run in runs], "cpu_recall_at_1": [0.358, 0.363, 0.396]}
open(f"{sys.argv[1]}/results.jsonl", "a").write(json.dumps(record) + "\n")
print(json.dumps(record, indent=1))
sys.exit(bool(different))
PY
    [ $? -eq 0 ] || failed=1
    cat "$out/quickstart.txt"
    # The table of metrics; on a CPU, R@1 of the rounds is 0.358, 0.363 and 0.396 with this seed.
    grep -E 'recall|R@1|evaluate' "$out/quickstart-1.txt" | head -n 30
fi
rm -rf "$out"/quickstart-*/.dnc

# 4 Speed: our rows and, if there is a script, PyTorch's, in turns. The most important ones first.
row() {
    pattern=$1 precision=$2 peer=$3
    name=$(echo "bench-$pattern-$precision" | tr '/^$' '---')
    step "$name" 40 "$here/examples/bench_models" "^$pattern/$precision\$" --device "$device" --precision "$precision" --reps 15
    grep '^{' "$out/$name.txt" | tee -a "$results"
    if [ -n "${PEER:-}" ] && [ -n "$peer" ]; then
        step "$name-peer" 60 python3 "$PEER" "^$pattern/($peer)\$" --reps 15
        grep '^{' "$out/$name-peer.txt" | sed 's/{/{"peer": true, /' | tee -a "$results"
    fi
}
row train_step/resnet50/224/b80 bf16 bf16-cl
row train_step/resnet18/64/b80 f32 'f32|tf32|bf16-cl'
row train_step/efficientnet_lite0/96/b80 bf16 'bf16-cl'
row embed/resnet50/224/b80 bf16 bf16-cl
row train_step/vit_small_patch16/224/b80 bf16 bf16-cl
row train_step/resnet50/224/b16 tf32 tf32
row train_step/resnet50/224/b80 tf32 tf32
row train_step/resnet18/64/b80 bf16 ''
row embed/efficientnet_lite0/96/b80 bf16 bf16-cl
row embed/vit_small_patch16/224/b80 bf16 bf16-cl
row embed/resnet18/64/b80 bf16 bf16-cl
row train_step/resnet50/224/b80 f32 f32

say "done; results in $results"
exit $failed
