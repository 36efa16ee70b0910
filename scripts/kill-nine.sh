#!/bin/sh
# Kills a pipeline with SIGKILL at random instants and runs it again each time, in a store of its own.
#
#     scripts/kill-nine.sh [KILLS [MANIFEST [OPTION …]]]
#
# After every kill the next run must end well and give the digests of a run that nobody killed, `cache verify` must find nothing,
# and `cache gc` must leave no temporary file. The options go to every run, as in `--set rounds.learners=[1,2]`. SEED chooses the
# instants, DNC names the binary. With CHAIN=10 the next run is killed as well, up to ten times in one store before one may end,
# which kills a long pipeline often without running it as often. Exits with 1 at the first violation, whose folder it then keeps.
set -eu

kills=${1:-100}
manifest=${2:-pipelines/quickstart.toml}
[ $# -le 2 ] && set -- || shift 2
dnc=${DNC:-target/release/dnc-run}
seed=${SEED:-1}
chain=${CHAIN:-1}
work=$(mktemp -d "${TMPDIR:-/tmp}/kill-nine.XXXXXX")

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# run FOLDER OPTION …: the pipeline with its store and its runs below FOLDER.
run() {
    folder=$1
    shift
    exec "$dnc" "$manifest" --store "$folder/store" --runs "$folder/runs" --progress plain "$@"
}

# digests FOLDER NUMBER: the outputs of all nodes of a run, in the plan's order.
digests() { grep -o '"outputs":{[^}]*}' "$1"/runs/*/"$2"/run.json; }

violation() {
    echo "kill $kill: $1; see $work" >&2
    exit 1
}

kill=0
begun=$(milliseconds)
(run "$work/whole" "$@") >"$work/whole.out" 2>"$work/whole.err" || violation "the run that nobody kills fails"
length=$(($(milliseconds) - begun))
digests "$work/whole" 1 >"$work/expected"
echo "$(grep -c . "$work/expected") nodes in $length ms; $kills kills at instants drawn from seed $seed"

early=0 # Runs that were over before their kill; they do not count.
resumed=0
chained=0 # Kills in the present store.
# A run that is killed again and again comes on by about half of what it may take in between.
most=$((chain > 1 ? 3 * length / chain : length))
instants=$(awk -v seed="$seed" -v count=$((2 * kills + 20)) -v most="$most" \
    'BEGIN { srand(seed); for (i = 0; i < count; i++) printf "%d ", rand() * most }')

# check: what the last run in the store left.
check() {
    number=$(ls "$work"/killed/runs/* | sort -n | tail -1)
    digests "$work/killed" "$number" | cmp -s - "$work/expected" || violation "the next run gives other digests"
    for tend in verify "gc --keep 1"; do
        # shellcheck disable=SC2086 # the option is a word of its own
        "$dnc" cache $tend --store "$work/killed/store" --runs "$work/killed/runs" >"$work/tend.out" 2>&1 ||
            violation "\`cache $tend\` finds: $(cat "$work/tend.out")"
    done
    left=$(find "$work/killed/store/tmp" -type f | wc -l)
    [ "$left" -eq 0 ] || violation "$left temporary files are left after \`cache gc\`"
    hits=$(grep -o '"outcome":"hit"' "$work/killed/runs"/*/"$number"/run.json | wc -l)
    echo "kill $kill at $instant ms: $hits nodes were done, the rest ran again: same digests, clean store"
    [ "$hits" -eq 0 ] || resumed=$((resumed + chained))
    chained=0
    rm -rf "$work/killed"
}

for instant in $instants; do
    [ "$kill" -lt "$kills" ] || break
    (run "$work/killed" "$@") >"$work/killed.out" 2>"$work/killed.err" &
    pid=$!
    sleep "$(awk -v ms="$instant" 'BEGIN { print ms / 1000 }')"
    kill -9 "$pid" 2>/dev/null || true
    if wait "$pid" 2>/dev/null; then
        early=$((early + 1))
        # Of those that were killed before, it is the next run.
        if [ "$chained" -gt 0 ]; then check; else rm -rf "$work/killed"; fi
        continue
    fi
    kill=$((kill + 1))
    chained=$((chained + 1))
    if [ "$chained" -lt "$chain" ] && [ "$kill" -lt "$kills" ]; then
        "$dnc" cache verify --store "$work/killed/store" --runs "$work/killed/runs" >"$work/tend.out" 2>&1 ||
            violation "\`cache verify\` finds: $(cat "$work/tend.out")"
        echo "kill $kill at $instant ms"
        continue
    fi
    (run "$work/killed" "$@") >"$work/again.out" 2>"$work/again.err" || violation "the next run fails"
    check
done
[ "$kill" -eq "$kills" ] || violation "only so many runs were still going when they were to be killed"
echo "$kills kills, $resumed of them in stores that had a node: the same digests each time, every store clean, no temporary file" \
    "($early runs were over before their kill and do not count)"
rm -rf "$work"
