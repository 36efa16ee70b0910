#!/bin/sh
# Checks and measures on a machine with an NVIDIA GPU, in at most seven minutes and without a network, what `make gpu-bundle` packed.
# usage: gpu_check.sh [FOLDER FOR RESULTS]
#
# The variable STEPS chooses some of these steps, all unless given:
#   tests       the tests of all operations and backbones on the card, equal bits of repeated runs among them
#   quickstart  twice in f32 and in bf16: equal digests of all outputs
#   seeds       the quickstart with seeds 1 to 4
#   speed       our benchmarks, and PyTorch's in turns where `python3` has it
#   memory      with speed: our memory, where the benchmarks do not tell it
#   profile     kernels of a step by `ncu`, and details of the three most expensive ones
#   epoch       only if it is named: whole epochs beside their steps alone
# ROWS is a regular expression for the rows of speed and profile. SECONDS_LIMIT is the limit in seconds, 420 unless given; DEVICE is cuda:0.
#
# CUDA's libraries are found through LD_LIBRARY_PATH; where `python3` has PyTorch, those that PyTorch brought are added.
# Writes log.txt, gpu.json, quickstart.json and profiles.txt. Exits with 1 if a check failed. A test that fails here can be run again with
# DNC_CUDA_KERNELS=candle, which takes candle's operations instead of our kernels.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/out}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
work=$(mktemp -d) || exit 1
device=${DEVICE:-cuda:0}
limit=${SECONDS_LIMIT:-420}
steps=" ${STEPS:-tests quickstart seeds speed memory profile} "
rows=${ROWS:-.}
log=$out/log.txt
start=$(date +%s)
failed=0
measuring=
: >"$log"

passed() { echo $(($(date +%s) - start)); }
left() { echo $((limit - $(passed))); }
say() { echo "[$(passed) s] $*" | tee -a "$log"; }
wants() { case $steps in *" $1 "*) ;; *) return 1 ;; esac; }
stop() {
    [ -n "$measuring" ] && kill "$measuring" 2>/dev/null
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 1' INT TERM

# step NAME SECONDS COMMAND…: runs a command for at most so long, with its output in $work/NAME.txt. 99 if there is no time for it.
step() {
    name=$1 most=$2
    shift 2
    rest=$(left)
    if [ "$rest" -lt 5 ]; then
        say "$name: no time left"
        return 99
    fi
    [ "$rest" -lt "$most" ] && most=$rest
    began=$(passed)
    timeout --kill-after=5 "$most" "$@" >"$work/$name.txt" 2>&1
    code=$?
    say "$name: code $code in $(($(passed) - began)) s"
    return $code
}

# 1 Environment: the libraries of PyTorch, the card, versions. PyTorch is only looked for: importing it takes seconds.
torch=$(python3 -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])' 2>/dev/null)
for folder in ${torch:+"${torch%/torch}"/nvidia/*/lib}; do
    [ -d "$folder" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
done
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" DNC_TEST_DEVICE="$device"
{
    nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm --format=csv
    echo "LD_LIBRARY_PATH=$LD_LIBRARY_PATH"
    echo "PyTorch: ${torch:-none}"
    "$here/dnc-run" --version
    lscpu | grep -E 'Model name|^CPU\(s\)'
    uname -r
} 2>&1 | tee -a "$log"

# 2 PyTorch compiles while the card is tested; nothing is timed before $work/go exists. The profile needs time at the end.
if wants speed; then
    reserve=10
    wants profile && reserve=70
    seconds=$(($(left) - reserve))
    memory=
    wants memory && memory=--memory
    timeout --kill-after=5 $((seconds + 10)) python3 "$here/gpu_rows.py" --here "$here" --out "$out/gpu.json" --work "$work/rows" --go "$work/go" \
        --seconds "$seconds" --only "$rows" --takes "${TAKES:-5}" --device "$device" $memory >"$work/speed.txt" 2>&1 &
    measuring=$!
fi

# 3 Correctness: each binary of tests on the card.
tests_of() {
    CARGO_MANIFEST_DIR=$here/$1 step "test-$2" "$3" "$here/tests/$2" --test-threads "${4:-1}" --nocapture
    code=$?
    [ $code -eq 0 ] || failed=1
    [ $code -eq 99 ] && return
    {
        grep -E '^test result|^test .* FAILED$|^error: ' "$work/test-$2.txt" | tail -n 40
        grep -A 4 'panicked at' "$work/test-$2.txt" | head -n 80
        echo "tests that were skipped: $(grep -c 'skipped: device' "$work/test-$2.txt")"
        # How it ended if it has not ended as a test does.
        grep -q '^test result' "$work/test-$2.txt" || tail -n 20 "$work/test-$2.txt"
    } | tee -a "$log"
    # A device that is not there skips every test, and that proves nothing.
    grep -q 'skipped: device' "$work/test-$2.txt" && failed=1
}
if wants tests; then
    tests_of stages/kernels gpu 40
    tests_of stages/kernels parity 30
    tests_of stages/kernels properties 60
    tests_of stages/kernels pixels 20
    tests_of stages/kernels strided 20
    tests_of stages/learn models_parity 60
fi

# 4 The quickstart: `quickstart SECONDS SEEDS …`.
quickstart() {
    most=$1 seeds=$2
    shift 2
    step "quickstart-$seeds" "$most" python3 "$here/gpu_quickstart.py" --dnc "$here/dnc-run" --pipelines "$here/pipelines" --work "$work/quickstart" \
        --out "$out/quickstart.json" --device "$device" --seeds "$seeds" --precisions f32,bf16 --threads 4 --limit "$most" "$@"
    code=$?
    tee -a "$log" <"$work/quickstart-$seeds.txt"
    [ $code -eq 0 ] || [ $code -eq 99 ] || failed=1
}
wants quickstart || wants seeds && rm -f "$out/quickstart.json"
wants quickstart && quickstart 90 0 --repeat
# The other seeds check no more bits: they wait for the numbers if the time is short.
seeds_left=
wants seeds && seeds_left=1
if [ -n "$seeds_left" ] && { ! wants speed || [ "$(left)" -gt 270 ] && [ ! -e "$work/rows/ready" ]; }; then
    quickstart 90 1,2,3,4
    seeds_left=
fi

# 5 Speed, on a card that does nothing else.
if [ -n "$measuring" ]; then
    : >"$work/go"
    say "the card is free for measurements"
    wait "$measuring" || failed=1
    measuring=
    cat "$work/speed.txt" >>"$log"
    sed -n '/^row /,$p' "$work/speed.txt"
    grep -q '^row ' "$work/speed.txt" || tail -n 20 "$work/speed.txt"
    say "speed: done"
    for file in "$work"/rows/peer-*.log; do
        [ -e "$file" ] && { echo "== $(basename "$file")" && tail -n 25 "$file"; } >>"$log"
    done
fi

# 6 Where the time goes.
if wants profile && [ "$(left)" -ge 15 ]; then
    step profile "$(left)" python3 "$here/gpu_profile.py" --here "$here" --out "$out/profiles.txt" --work "$work/profile" --seconds $(($(left) - 5)) \
        --only "$rows" --device "$device"
    tee -a "$log" <"$work/profile.txt"
    [ -e "$out/profiles.txt" ] && sed -n '/^by kernel:/,/^by kernel and grid:/p' "$out/profiles.txt" | head -n 16
fi
# 7 Whole epochs beside their steps alone, which speed has measured. Not among the steps unless named: it takes a minute.
if wants epoch && [ "$(left)" -ge 60 ]; then
    alone=$(sed -n 's|.*"name": "train_step/resnet50/224/b80/bf16".*"ours_ms": \([0-9.]*\).*|\1|p' "$out/gpu.json" 2>/dev/null)
    step epoch "$(left)" python3 "$here/gpu_epoch.py" --dnc "$here/dnc-run" --work "$work/epoch" --device "$device" --step-ms "${alone:-1}"
    tail -n 1 "$work/epoch.txt" | tee -a "$log"
fi
[ -n "$seeds_left" ] && [ "$(left)" -ge 40 ] && quickstart "$(left)" 1,2,3,4

say "done: $([ $failed -eq 0 ] && echo "no check failed" || echo "CHECKS FAILED"); results in $out"
exit $failed
