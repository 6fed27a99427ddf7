#!/bin/sh
# Trains SmolLM2-135M-Instruct in three short runs, and lets it answer: fine-tuning, preferences, reinforcement learning.
#
#   sh examples/smollm2/run.sh MODEL_DIR [PALESTRA]
#
# MODEL_DIR is the model in Hugging Face's layout (HuggingFaceTB/SmolLM2-135M-Instruct); PALESTRA is the program.
# Works in a copy of this folder, ./smollm2, which must not exist before.
set -eu
model=$(realpath "${1:?name the directory of the model}")
palestra=${2:-palestra}
case $palestra in */*) palestra=$(realpath "$palestra") ;; esac
mkdir smollm2
cp "$(dirname "$0")"/*.toml "$(dirname "$0")"/answers.jsonl smollm2
cd smollm2
ln -s "$model" model
ask() {
  "$palestra" generate "$1" --chat --prompt "What is the capital of France?" --greedy --max-new-tokens 24 --quiet
}

echo "== The model as it is"
ask model
for run in sft dpo grpo; do
  echo "== $run"
  "$palestra" train "$run.toml"
  ask "runs/smollm2-$run"
done
echo "== One model directory, with all adapters merged"
"$palestra" merge runs/smollm2-grpo --out smollm2-short
