#!/usr/bin/env bash
# Writes RESULTS.md: what dividing is worth on a data set, over seeds. What was run before is only looked up, so the script
# may be stopped and called again, and more seeds cost only themselves.
#
#   scripts/results.sh [SETTING …]          all of the settings below, or those named
#   SEEDS="0 1 2 3 4" MANIFEST=pipelines/open-emoji.toml DNC_RUN=target/release/dnc-run OUTPUT=RESULTS.md OPTIONS="--threads 2"
set -euo pipefail
cd "$(dirname "$0")/.."
: "${SEEDS:=0 1 2 3 4}" "${MANIFEST:=pipelines/open-emoji.toml}" "${DNC_RUN:=target/release/dnc-run}" "${OUTPUT:=RESULTS.md}" "${OPTIONS:=}"

# Each trains for twelve epochs. The first is what all others are compared with.
declare -A settings=(
  [single]='rounds.learners=[1,1,1,1,1,1]'
  [learned]='rounds.learners=[1,2,4,4,4,1]'
  [fixed]='rounds.learners=[1,2,4,4,4,1] stage.train.subspaces={kind="fixed_mask"}'
  [slices]='rounds.learners=[1,2,4,4,4,1] stage.train.subspaces={kind="slice"}'
  [two]='rounds.learners=[1,2,2,2,2,1]'
  [eight]='rounds.learners=[1,2,4,8,8,1]'
  [parallel]='rounds.learners=[1,2,4,4,4,1] stage.train.per="learner"'
  [parallel-outer]='rounds.learners=[1,2,4,4,4,1] stage.train.per="learner" stage.merge.outer_lr=3'
  [triplet]='rounds.learners=[1,2,4,4,4,1] stage.train.loss={kind="triplet"}'
  [single-triplet]='rounds.learners=[1,1,1,1,1,1] stage.train.loss={kind="triplet"}'
  [multi-similarity]='rounds.learners=[1,2,4,4,4,1] stage.train.loss={kind="multi_similarity"}'
  [single-multi-similarity]='rounds.learners=[1,1,1,1,1,1] stage.train.loss={kind="multi_similarity"}'
)
order=(single learned fixed slices two eight parallel parallel-outer triplet single-triplet multi-similarity single-multi-similarity)
[ $# -gt 0 ] && order=("$@")

runs=target/results
# The nodes of runs, a line each.
nodes() { sed 's/{"node"/\n&/g' "$@"; }

# Seed by seed, so that an interruption leaves every setting with equally many.
for seed in $SEEDS; do
  for setting in "${order[@]}"; do
    sets=()
    for set in ${settings[$setting]}; do sets+=(--set "$set"); done
    commas=${settings[$setting]%%]*} # there is one round more than commas, and rounds count from 0
    commas=${commas//[^,]/}
    # shellcheck disable=SC2086
    "$DNC_RUN" "$MANIFEST" --runs "$runs" --set "name=$setting" --set "seed=$seed" "${sets[@]}" --until "evaluate@${#commas}" $OPTIONS > /dev/null
  done
done

count=$(wc -w <<< "$SEEDS")
# Runs of an earlier call lie in the same folder, so the last ones of each setting are meant.
compared=()
speeds=()
for setting in "${order[@]}"; do
  last=$(ls "$runs/$setting" | sort -n | tail -1)
  round=$(nodes "$runs/$setting/$last/run.json" | sed -n 's/^{"node":"evaluate@\([0-9]*\)".*/\1/p' | sort -n | tail -1)
  compared+=("$setting/$((last - count + 1))-$last:evaluate@$round")
  speed=$(nodes "$runs/$setting"/*/run.json | sed -n 's/^{"node":"train@.*"images per second":\([0-9]*\).*/\1/p' |
    awk '{ sum += $1 } END { if (NR) printf "%.0f", sum / NR; else printf "–" }')
  speeds+=("| $setting | $speed |")
done
{
  echo "# Results"
  echo
  echo "Written by \`scripts/results.sh ${order[*]}\` with SEEDS=\"$SEEDS\" from \`$MANIFEST\`: twelve epochs each, metrics of the last"
  echo "round on classes that are unseen in training, mean and Student's 95 % interval over $count seeds, compared with \`${order[0]}\`."
  echo
  "$DNC_RUN" diff --runs "$runs" "${compared[@]}" --format md
  echo
  echo "| setting | images per second while training |"
  echo "|---|---|"
  printf '%s\n' "${speeds[@]}"
} > "$OUTPUT.new"
mv "$OUTPUT.new" "$OUTPUT"
