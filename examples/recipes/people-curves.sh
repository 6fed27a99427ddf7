#!/bin/sh
# Measures true reward against KL for PPO, GRPO, DPO and best-of-n sampling, after `people.sh` (docs/people.md). Each
# learner uses only the labels of the first round, and is scored at several checkpoints. GRPO also runs with a quarter
# of the KL coefficient. Writes runs/people/curves/*.jsonl and a plot of them.
#
#   sh examples/recipes/people-curves.sh
set -eu
palestra=${PALESTRA:-target/release/palestra}
simulated=${SIMULATED:-target/release/examples/simulated_people}
recipes=examples/recipes
folder=${FOLDER:-$PWD/runs/people}
seed=${SEED:-1}
start=$folder/start/checkpoints/step-00001500
reward_model=$folder/reward-1
mkdir -p "$folder/curves"

# How well the reward model agrees with the reward function: on other answers of the start policy, with annotators who make
# no errors.
"$palestra" label add "$folder/truth.db" --prompts "$folder/prompts.jsonl" --from "$start" --samples 2 --seed $((100 * seed - 1)) \
    --max-new-tokens 48 --batch 256 --threads 1
"$simulated" label "$folder/truth.db" --noise 0
"$palestra" label export "$folder/truth.db" "$folder/truth.jsonl"
"$palestra" score "$reward_model" --data "$folder/truth.jsonl" --batch 64

follow() {
    recipe=$1 name=$2
    shift 2
    "$palestra" train "$recipes/people/$recipe.toml" --out "$folder/$name" --quiet --set seed="$seed" \
        --set train.keep_checkpoints=100 --set start_from="$start" "$@"
    "$simulated" score "$start" "$folder/$name/checkpoints"/step-* --start "$start" --reward-model "$reward_model" \
        --prompts "$folder/prompts.jsonl" > "$folder/curves/$name.jsonl"
}
play() {
    recipe=$1 name=$2
    shift 2
    follow "$recipe" "$name" --set env.options.file="$folder/prompts.jsonl" --set reward.0.options.model="$reward_model" "$@"
}
play ppo ppo --set train.checkpoint_every=4
play grpo grpo --set train.checkpoint_every=4
play grpo grpo-far --set train.updates=20 --set train.checkpoint_every=2 --set grpo.kl_coefficient=0.05
follow dpo dpo --set train.checkpoint_every=10 --set "preferences.files=[\"$folder/preferences-1.jsonl\"]"
"$simulated" best-of "$start" --reward-model "$reward_model" --prompts "$folder/prompts.jsonl" --samples 200 \
    > "$folder/curves/best-of-n.jsonl"
"$simulated" draw "$folder/curves/people.svg" "$folder"/curves/*.jsonl
