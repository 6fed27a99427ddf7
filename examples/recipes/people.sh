#!/bin/sh
# Three rounds of RLHF against simulated annotators with a known reward function (docs/people.md). In each round the
# policy answers, annotators compare, a reward model learns from all labels so far, and PPO trains the policy with it.
# One label of ten is wrong. The annotators use the label store like human annotators. runs/people/rounds.jsonl has
# the true reward of each round's policy. Each round starts where the last one ended and measures KL from there, so
# its KL coefficient is twice that of people/ppo.toml. Run it from the root of the repository:
#
#   cargo build --release --features libtorch --bin palestra --example simulated_people
#   sh examples/recipes/people.sh
set -eu
palestra=${PALESTRA:-target/release/palestra}
simulated=${SIMULATED:-target/release/examples/simulated_people}
recipes=examples/recipes
folder=${FOLDER:-$PWD/runs/people}
seed=${SEED:-1}  # fixes everything
pairs=${PAIRS:-2000}  # of each round
updates=${UPDATES:-20}  # of PPO, in each round

if [ -e "$folder" ]; then
    echo "$folder is there already: remove it, or set FOLDER" >&2
    exit 1
fi
"$simulated" world "$folder" --prompts "$pairs" --seed "$seed"
"$palestra" tokenizer train "$folder/texts.jsonl" --vocab-size 600 --out "$folder/tokenizer"
"$palestra" train $recipes/people/start.toml --out "$folder/start" --quiet --set seed="$seed" \
    --set "text.files=[\"$folder/texts.jsonl\"]" --set text.tokenizer="$folder/tokenizer/tokenizer.json"
start=$folder/start/checkpoints/step-00001500
score() { "$simulated" score "$@" --start "$start" --prompts "$folder/prompts.jsonl"; }
score "$start" > "$folder/rounds.jsonl"

policy=$start
for round in 1 2 3; do
    store=$folder/round-$round.db
    told=$((100 * seed - 100 + round))
    "$palestra" label add "$store" --prompts "$folder/prompts.jsonl" --from "$policy" --samples 2 --seed $told \
        --max-new-tokens 48 --batch 256 --threads 1
    "$simulated" label "$store" --noise 0.1 --seed $told
    "$palestra" label stats "$store"
    "$palestra" label export "$store" "$folder/preferences-$round.jsonl"
    "$palestra" train $recipes/people/reward.toml --out "$folder/reward-$round" --quiet --set seed="$seed" \
        --set start_from="$start" --set "preferences.files=[\"$folder/preferences-*.jsonl\"]"
    "$palestra" train $recipes/people/ppo.toml --out "$folder/ppo-$round" --quiet --set seed="$seed" \
        --set train.updates="$updates" --set ppo.kl_coefficient=0.1 --set env.options.file="$folder/prompts.jsonl" \
        --set start_from="$policy" --set reward.0.options.model="$folder/reward-$round"
    policy=$(ls -d "$folder/ppo-$round/checkpoints"/step-* | tail -n 1)
    score "$policy" --reward-model "$folder/reward-$round" >> "$folder/rounds.jsonl"
done
cat "$folder/rounds.jsonl"
