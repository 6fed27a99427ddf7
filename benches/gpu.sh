#!/bin/sh
# Builds for an NVIDIA GPU, tests on it and measures it beside the CPU, in about ten minutes on 16 cores:
#
#   benches/gpu.sh [TEXT]
#
# TEXT, a text file of a megabyte or so, is pretrained on with the recipe shakespeare-char and a wider model. The libtorch is
# the one of LIBTORCH if that is set (a Python with torch 2.9 has one: the folder of the package torch), else it is
# brought from PyPI. Every line that is printed goes to gpu.log too.
set -eu
cd "$(dirname "$0")/.."
text=${1:-}

if ! nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader; then
    echo "gpu.sh: nvidia-smi finds no NVIDIA GPU" >&2
    exit 1
fi
[ -n "${LIBTORCH:-}" ] || cargo xtask fetch --cuda

measure() {
    echo "== operations: own kernels, and composed ones"
    cargo bench --features libtorch -p palestra -p palestra-model --bench ops -- libtorch-cuda
    echo "== memory of log-probabilities, 49,152 x 4,096"
    cargo bench --features libtorch -p palestra -p palestra-model --bench log_probs_memory -- libtorch-cuda
    echo "== PPO"
    cargo bench --features libtorch --bench ppo
    if [ -n "$text" ]; then
        for device in cuda cpu; do
            echo "== pretraining, 8 layers of 512, 16 windows of 256, $device"
            out=$(mktemp -d)/run
            target/release/palestra train examples/recipes/shakespeare-char.toml --device "$device" --out "$out" --quiet \
                --set "text.files=[\"$(realpath "$text")\"]" --set model.layers=8 --set model.heads=8 --set model.width=512 \
                --set model.context=256 --set text.batch=16 --set train.updates=40 --set train.evaluate_every=40
            grep throughput "$out/metrics.jsonl" | tail -n 1
        done
    fi
}

cargo build --release --features libtorch
# No test may be left out for want of the GPU: the tests run on every device that the program lists.
cargo test --release --features libtorch -p palestra -p palestra-model --lib
measure 2>&1 | tee gpu.log
