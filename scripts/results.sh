#!/usr/bin/env bash
# Writes RESULTS.md: what dividing is worth on a data set, over seeds. What was run before is only looked up, so the script
# may be stopped and called again, and more seeds cost only themselves.
#
#   scripts/results.sh                      the tables at the end of this file
#   scripts/results.sh SETTING …            one table of the settings named, over SEEDS, compared with the first
#   SEEDS="0 1 2 3 4" MANIFEST=pipelines/open-emoji.toml DNC_RUN=target/release/dnc-run OUTPUT=RESULTS.md OPTIONS="--threads 2"
#   BATCH=80 RUNS=target/results            images of a batch in MANIFEST; the folder of runs
set -euo pipefail
export LC_ALL=C # numbers have points
cd "$(dirname "$0")/.."
: "${SEEDS:=0 1 2 3 4}" "${MANIFEST:=pipelines/open-emoji.toml}" "${DNC_RUN:=target/release/dnc-run}" "${OUTPUT:=RESULTS.md}" "${OPTIONS:=}" "${BATCH:=80}" "${RUNS:=target/results}"

# Each trains for twelve epochs. The manifest mines masks in the dimension of the whole embedding, as the published codes do; who has
# coordinates of its own mines in their number.
own_dimension='stage.train.miner={kind="distance_weighted",replacement=true}'
fixed_beta='stage.train.loss={kind="margin",beta=1.2,margin=0.2}' off_centre='stage.init.in={}'
published="$off_centre $fixed_beta" # as the published codes, and the peer, have it
triplet="$off_centre "'stage.train.loss={kind="triplet"}'
multi_similarity="$off_centre "'stage.train.loss={kind="multi_similarity"}'
# The peer clips a crop that is too long where torchvision draws again, so its crops have 73 % of the area on average, not 70 %.
larger_crops="$published stage.augment.scale=[0.57,1.0]"
single='rounds.learners=[1,1,1,1,1,1]' four='rounds.learners=[1,2,4,4,4,1]' eight='rounds.learners=[1,2,4,8,8,1]'
parallel="$four "'stage.train.per="learner"' outer='stage.merge.outer_lr=3'
declare -A settings=(
  [single]=$single
  [learned]=$four
  [parallel]=$parallel
  [parallel-outer]="$parallel $outer"
  [fixed-beta-single]="$single $fixed_beta"
  [fixed-beta-learned]="$four $fixed_beta"
  [published-single]="$single $published"
  [published-learned]="$four $published"
  [published-parallel]="$parallel $published"
  [published-parallel-outer]="$parallel $outer $published"
  [published-fixed]="$four $published "'stage.train.subspaces={kind="fixed_mask"} '"$own_dimension"
  [published-slices]="$four $published "'stage.train.subspaces={kind="slice"} '"$own_dimension"
  [published-two]='rounds.learners=[1,2,2,2,2,1] '"$published"
  [published-eight]="$eight $published"
  [larger-crops-single]="$single $larger_crops"
  [larger-crops-learned]="$four $larger_crops"
  [triplet-single]="$single $triplet"
  [triplet-learned]="$four $triplet"
  [triplet-eight]="$eight $triplet"
  [triplet-parallel-outer]="$parallel $outer $triplet"
  [multi-similarity-single]="$single $multi_similarity"
  [multi-similarity-learned]="$four $multi_similarity"
)

runs=$RUNS
mkdir -p "$runs"
# The nodes of a run, a line each.
nodes() { sed 's/{"node"/\n&/g' "$1/run.json"; }

# watch NAME FILE: keeps the events of a run in FILE, each behind the second in which it came, and tells what trains.
watch() {
  local line node
  while IFS= read -r line; do
    case $line in
      '{"event":"node_progress"'*) ;;
      '{"event":'*)
        echo "$EPOCHREALTIME $line"
        node=${line#*'"node":"'}
        case $line in *'_started","node":"train'*) echo "$1: ${node%%'"'*}" >&2 ;; esac
        ;;
      *) echo "$line" >&2 ;;
    esac
  done > "$2"
}

# speed RUN …: images per second while training, the median over the rounds of all runs: the images of all of a round's learners
# over the time from the first of them to begin to the last to end. Rounds of which something was only looked up do not count.
speed() {
  local run round steps
  for run in "$@"; do
    [ -e "$run/events" ] || continue # it was killed
    # shellcheck disable=SC2016
    awk 'match($0, /"node":"train@[0-9]+/) {
        round = substr($0, RSTART + 14, RLENGTH - 14)
        if (/"event":"node_started"/) { if (!(round in begun)) begun[round] = $1 }
        if (/"event":"node_finished"/) { if (/"outcome":"ran"/) ended[round] = $1; else lookup[round] = 1 }
      }
      END { for (round in ended) if (!(round in lookup)) print round, ended[round] - begun[round] }' "$run/events" |
      while read -r round seconds; do
        steps=$(find "$run/logs" -name "train@$round.log" -o -name "train@$round\[*.log" | xargs cat |
          awk '/^Epoch [0-9]+: / { sum += $3 } END { print sum + 0 }')
        echo "$((steps * BATCH)) $seconds"
      done
  done | awk '$2 { print $1 / $2 }' | sort -n | awk '{ of[NR] = $1 } END { if (NR) printf "%.0f", of[int((NR + 1) / 2)]; else printf "–" }'
}

# by_seed SETTING … < JSON of diff: MAP@R and R@1 of each seed, so that anyone may pair them.
by_seed() {
  echo "| metric | seed |$(printf ' %s |' "$@")"
  echo "|---|---|$(printf -- '---|%.0s' "$@")"
  # shellcheck disable=SC2016
  awk '
    /"split":/ { test = /"test"/; group = count = 0 }
    /"metric":/ { metric = $2; gsub(/[",]/, "", metric) }
    /"k":/ { if ($2 != "null,") metric = metric "@" ($2 + 0) }
    /"(seeds|values)": \[/ { list = $1; entry = 0; next }
    /\]/ { if (list ~ /values/) group++; list = "" }
    list ~ /seeds/ { seed[entry++] = $1 + 0; if (entry > count) count = entry }
    list ~ /values/ { value[entry++, group] = $1 + 0 }
    /^  }/ && test && (metric == "map_at_r" || metric == "recall@1") {
      for (i = 0; i < count; i++) {
        printf "| %s | %d |", metric, seed[i]
        for (g = 0; g < group; g++) printf " %.4f |", value[i, g]
        print ""
      }
    }'
}

# table SEEDS SETTING …: runs the settings and prints their comparison with the first.
table() {
  local seeds=$1 order=("${@:2}") seed setting set commas count last round
  # Seed by seed, so that an interruption leaves every setting with equally many.
  for seed in $seeds; do
    for setting in "${order[@]}"; do
      local sets=()
      for set in ${settings[$setting]}; do sets+=(--set "$set"); done
      commas=${settings[$setting]%%]*} # there is one round more than commas, and rounds count from 0
      commas=${commas//[^,]/}
      # shellcheck disable=SC2086
      "$DNC_RUN" "$MANIFEST" --runs "$runs" --set "name=$setting" --set "seed=$seed" "${sets[@]}" --until "evaluate@${#commas}" \
        --progress json $OPTIONS 2>&1 > /dev/null | watch "$setting, seed $seed" "$runs/events"
      mv "$runs/events" "$runs/$setting/$(ls "$runs/$setting" | sort -n | tail -1)/events"
    done
  done

  count=$(wc -w <<< "$seeds")
  # Runs of an earlier call lie in the same folder, so the last ones of each setting are meant.
  local compared=() speeds=()
  for setting in "${order[@]}"; do
    last=$(ls "$runs/$setting" | sort -n | tail -1)
    round=$(nodes "$runs/$setting/$last" | sed -n 's/^{"node":"evaluate@\([0-9]*\)".*/\1/p' | sort -n | tail -1)
    compared+=("$setting/$((last - count + 1))-$last:evaluate@$round")
    speeds+=("| $setting | $(speed "$runs/$setting"/*) |")
  done
  echo "From \`$MANIFEST\` with seeds $seeds: twelve epochs each, metrics of the last round on classes that are unseen in training,"
  echo "mean and Student's 95 % interval over $count seeds, each compared with \`${order[0]}\` seed by seed: the"
  echo "95 % intervals of the differences are those of Student's paired test."
  echo
  "$DNC_RUN" diff --runs "$runs" "${compared[@]}" --format md
  echo
  "$DNC_RUN" diff --runs "$runs" "${compared[@]}" --format json | by_seed "${order[@]}"
  echo
  echo "| setting | images per second while training, median over rounds |"
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
    section "The same on further seeds" "5 6 7 8 9" single learned
    section "A boundary that stays where it is" "0 1 2 3 4" fixed-beta-single fixed-beta-learned
    section "As the published codes: the boundary stays where it is, and the start is not centred" "0 1 2 3 4" \
      published-single published-learned published-parallel published-parallel-outer
    section "The same with crops as large as the peer's" "0 1 2 3 4" larger-crops-single larger-crops-learned
    section "The same on seeds that nothing was chosen on" "5 6 7 8 9" published-single published-parallel-outer
    section "The same: subspaces and the number of learners" "0 1 2" \
      published-single published-learned published-fixed published-slices published-two published-eight
    section "The triplet loss, with the negatives that the manifest mines, from a start that is not centred" "0 1 2 3 4" \
      triplet-single triplet-learned triplet-eight triplet-parallel-outer
    section "The same on seeds that nothing was chosen on" "5 6 7 8 9" triplet-single triplet-learned triplet-parallel-outer
    section "The multi-similarity loss, with the negatives that the manifest mines, from a start that is not centred" "0 1 2" \
      multi-similarity-single multi-similarity-learned
  fi
} > "$OUTPUT.new"
mv "$OUTPUT.new" "$OUTPUT"
