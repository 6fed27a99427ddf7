#!/bin/sh
# Writes the logs of the offline recipes into logs/. They are the same games on every machine of one kind. Run it from
# the root of the repository, after `cargo build --release` (with --features libtorch for speed):
#
#   sh examples/recipes/logs.sh
#
# It takes five to ten minutes. Most of this is PPO training of the agents whose games of Snake and FrozenLake are
# logged.
set -eu
palestra=${PALESTRA:-target/release/palestra}
envs=examples/recipes/envs
device=${DEVICE:-flex}
mkdir -p logs/double-t-maze logs/frozen-lake logs/tic-tac-toe logs/snake

# Double-T maze: 1,200 episodes in three overlapping parts of the maze, 85 % random moves. No episode covers a whole way.
for region in left right stem; do
    "$palestra" rollout $envs/double-t-maze-$region.toml --policy scripted --epsilon 0.85 --episodes 400 --seed 1 \
        --out logs/double-t-maze/$region.parquet
done

# Tic-tac-toe: 20,000 games of the random policy against a random opponent.
"$palestra" rollout $envs/tic-tac-toe.toml --policy random --episodes 20000 --seed 1 --out logs/tic-tac-toe/random.parquet

# FrozenLake: an agent of medium strength (its greedy policy has the return 0.60), as it samples, and with three moves of
# ten at random. The mean return of both together is 0.31.
"$palestra" train examples/recipes/frozen-lake-ppo.toml --device "$device" --out logs/frozen-lake-ppo --quiet \
    --set train.updates=80 --set rollout.episodes=256 --set ppo.entropy_coefficient=0.04 \
    --set optimizer.learning_rate=3e-3
"$palestra" rollout $envs/frozen-lake-4x4.toml --policy logs/frozen-lake-ppo --episodes 3000 --seed 1 \
    --out logs/frozen-lake/epsilon-0.parquet
"$palestra" rollout $envs/frozen-lake-4x4.toml --policy logs/frozen-lake-ppo --epsilon 0.3 --episodes 5000 --seed 2 \
    --out logs/frozen-lake/epsilon-0.3.parquet

# Snake: three levels of skill, from a good agent to one with every third move at random.
"$palestra" train examples/recipes/snake-ppo.toml --out logs/snake-ppo --quiet
for epsilon in 0 0.1 0.3; do
    "$palestra" rollout $envs/snake-6x6.toml --policy logs/snake-ppo --epsilon $epsilon --episodes 300 --seed 1 \
        --out logs/snake/epsilon-$epsilon.parquet
done
