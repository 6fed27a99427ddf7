#!/bin/sh
# How much PPO, GRPO, DPO and the best of n please people, and how far they go for it, after `people.sh` (docs/people.md):
# each learns from the labels of the first round alone, and is scored as it goes. Writes runs/people/curves/*.jsonl and a
# picture of them.
#
#   sh examples/recipes/people-curves.sh
set -eu
palestra=${PALESTRA:-target/release/palestra}
simulated=${SIMULATED:-target/release/examples/simulated_people}
recipes=examples/recipes
folder=$PWD/runs/people
start=$folder/start/checkpoints/step-00000400
judge=$folder/reward-1
mkdir -p "$folder/curves"

# How well the reward model knows the rule: other answers of the start policy, of which people who never err say what is better.
"$palestra" label add "$folder/truth.db" --prompts "$folder/prompts.jsonl" --from "$start" --samples 2 --seed 99 \
    --max-new-tokens 48 --batch 256 --threads 1
"$simulated" judge "$folder/truth.db" --noise 0
"$palestra" label export "$folder/truth.db" "$folder/truth.jsonl"
"$palestra" score "$judge" --data "$folder/truth.jsonl" --batch 64

for learner in ppo grpo; do
    "$palestra" train $recipes/people/$learner.toml --out "$folder/$learner" --quiet --set train.updates=60 \
        --set train.checkpoint_every=4 --set train.keep_checkpoints=100 \
        --set start_from="$start" --set reward.0.options.model="$judge"
done
"$palestra" train $recipes/people/dpo.toml --out "$folder/dpo" --quiet --set train.checkpoint_every=15 \
    --set train.keep_checkpoints=100 --set start_from="$start" --set "preferences.files=[\"$folder/judged-1.jsonl\"]"
for learner in ppo grpo dpo; do
    "$simulated" score "$start" "$folder/$learner/checkpoints"/step-* --start "$start" --reward-model "$judge" \
        --prompts "$folder/prompts.jsonl" > "$folder/curves/$learner.jsonl"
done
"$simulated" best-of "$start" --reward-model "$judge" --prompts "$folder/prompts.jsonl" --samples 200 \
    > "$folder/curves/best-of-n.jsonl"
"$simulated" draw "$folder/curves/people.svg" "$folder"/curves/*.jsonl
