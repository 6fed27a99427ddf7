#!/bin/sh
# Writes into logs/ what the recipes of offline learners learn from: the same games on every machine of one kind.
# Run from the repository's root, after `cargo build --release` (with --features libtorch for speed):
#
#   sh examples/recipes/logs.sh
#
# Snake and FrozenLake are recorded from agents that learn by PPO first, which takes most of the five to ten minutes.
set -eu
palestra=${PALESTRA:-target/release/palestra}
envs=examples/recipes/envs
device=${DEVICE:-flex}
mkdir -p logs/double-t-maze logs/frozen-lake logs/tic-tac-toe logs/snake

# Double-T maze: 1,200 episodes confined to three overlapping parts, 85 % random moves. No episode shows a whole way.
for region in left right stem; do
    "$palestra" rollout $envs/double-t-maze-$region.toml --policy scripted --epsilon 0.85 --episodes 400 --seed 1 \
        --out logs/double-t-maze/$region.parquet
done

# Tic-tac-toe: 20,000 games of a random player against a random opponent.
"$palestra" rollout $envs/tic-tac-toe.toml --policy random --episodes 20000 --seed 1 --out logs/tic-tac-toe/random.parquet

# FrozenLake: an agent that has learned to be fair (its greedy play is worth 0.60): as it plays, and with three moves of
# ten at random. The mean return of both together is 0.31.
"$palestra" train examples/recipes/frozen-lake-ppo.toml --device "$device" --out logs/frozen-lake-ppo --quiet \
    --set train.updates=80 --set rollout.episodes=256 --set ppo.entropy_coefficient=0.04 \
    --set optimizer.learning_rate=3e-3
"$palestra" rollout $envs/frozen-lake-4x4.toml --policy logs/frozen-lake-ppo --episodes 3000 --seed 1 \
    --out logs/frozen-lake/epsilon-0.parquet
"$palestra" rollout $envs/frozen-lake-4x4.toml --policy logs/frozen-lake-ppo --epsilon 0.3 --episodes 5000 --seed 2 \
    --out logs/frozen-lake/epsilon-0.3.parquet

# Snake: three skills, from an agent that plays well to one that errs in every third move.
"$palestra" train examples/recipes/snake-ppo.toml --out logs/snake-ppo --quiet
for epsilon in 0 0.1 0.3; do
    "$palestra" rollout $envs/snake-6x6.toml --policy logs/snake-ppo --epsilon $epsilon --episodes 300 --seed 1 \
        --out logs/snake/epsilon-$epsilon.parquet
done
