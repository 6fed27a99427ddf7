#!/bin/sh
# Three rounds of learning from people, in a world in which the truth is known (docs/people.md): the policy answers, people
# compare, a reward model learns, the policy follows it. The people are simulated by a hidden rule and err in one of ten
# labels; they judge in the label store as anybody does. Prints what each round's policy is truly worth, which rises.
# Run from the repository's root, after `cargo build --release --features libtorch --example simulated_people` and
# `cargo build --release --features libtorch`:
#
#   sh examples/recipes/people.sh [FOLDER]
set -eu
