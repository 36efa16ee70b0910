#!/usr/bin/env bash
# Writes RESULTS.md: what dividing is worth on a data set, over seeds. What was run before is only looked up, so the script
# may be stopped and called again, and more seeds cost only themselves.
#
#   scripts/results.sh                      the tables at the end of this file
#   scripts/results.sh SETTING …            one table of the settings named, over SEEDS, compared with the first
#   SEEDS="0 1 2 3 4" MANIFEST=pipelines/open-emoji.toml DNC_RUN=target/release/dnc-run OUTPUT=RESULTS.md OPTIONS="--threads 2"
set -euo pipefail
cd "$(dirname "$0")/.."
: "${SEEDS:=0 1 2 3 4}" "${MANIFEST:=pipelines/open-emoji.toml}" "${DNC_RUN:=target/release/dnc-run}" "${OUTPUT:=RESULTS.md}" "${OPTIONS:=}"

# Each trains for twelve epochs.
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

runs=target/results
# The nodes of runs, a line each.
nodes() { sed 's/{"node"/\n&/g' "$@"; }

# table SEEDS SETTING …: runs the settings and prints their comparison with the first.
table() {
  local seeds=$1 order=("${@:2}") seed setting set commas count last round speed
  # Seed by seed, so that an interruption leaves every setting with equally many.
  for seed in $seeds; do
    for setting in "${order[@]}"; do
      local sets=()
      for set in ${settings[$setting]}; do sets+=(--set "$set"); done
      commas=${settings[$setting]%%]*} # there is one round more than commas, and rounds count from 0
      commas=${commas//[^,]/}
      # shellcheck disable=SC2086
      "$DNC_RUN" "$MANIFEST" --runs "$runs" --set "name=$setting" --set "seed=$seed" "${sets[@]}" --until "evaluate@${#commas}" $OPTIONS > /dev/null
    done
  done

  count=$(wc -w <<< "$seeds")
  # Runs of an earlier call lie in the same folder, so the last ones of each setting are meant.
  local compared=() speeds=()
  for setting in "${order[@]}"; do
    last=$(ls "$runs/$setting" | sort -n | tail -1)
    round=$(nodes "$runs/$setting/$last/run.json" | sed -n 's/^{"node":"evaluate@\([0-9]*\)".*/\1/p' | sort -n | tail -1)
    compared+=("$setting/$((last - count + 1))-$last:evaluate@$round")
    speed=$(nodes "$runs/$setting"/*/run.json | sed -n 's/^{"node":"train@.*"images per second":\([0-9]*\).*/\1/p' |
      awk '{ sum += $1 } END { if (NR) printf "%.0f", sum / NR; else printf "–" }')
    speeds+=("| $setting | $speed |")
  done
  echo "From \`$MANIFEST\` with seeds $seeds: twelve epochs each, metrics of the last round on classes that are unseen in training,"
  echo "mean and Student's 95 % interval over $count seeds, compared with \`${order[0]}\`."
  echo
  "$DNC_RUN" diff --runs "$runs" "${compared[@]}" --format md
  echo
  echo "| setting | images per second while training |"
  echo "|---|---|"
  printf '%s\n' "${speeds[@]}"
}

# section HEADING SEEDS SETTING …
section() {
  echo
  echo "## $1"
  echo
  table "${@:2}"
}

{
  echo "# Results"
  echo
  echo "Written by \`scripts/results.sh${*:+ $*}\`."
  if [ $# -gt 0 ]; then
    echo
    table "$SEEDS" "$@"
  else
    section "One metric, learned masks, a node per learner" "0 1 2 3 4" single learned parallel parallel-outer
    section "Seeds that nothing was chosen on" "5 6 7 8 9" single parallel-outer
    section "Subspaces and the number of learners" "0 1 2" single learned fixed slices eight
    section "The triplet loss" "0 1 2" single-triplet triplet
  fi
} > "$OUTPUT.new"
mv "$OUTPUT.new" "$OUTPUT"
