"""Speed and memory of pretraining at three sizes of model, as planned and as measured, as a table in Markdown.

    sh examples/recipes/english.sh                       # the token shards that are learned from
    python3 examples/recipes/scaling.py [THREADS]        # PALESTRA names the program, target/release/palestra

Each size is english.toml with another [model], for 20 optimiser steps of 8 windows of 256 tokens. Speed is the median over
updates of 5 steps after the first; memory is the most that the process had resident, a checkpoint included.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RECIPE = Path(__file__).parent / "english.toml"
SIZES = [dict(layers=4, width=128, heads=4), dict(layers=6, width=192, heads=6), dict(layers=8, width=512, heads=8)]


def main(threads):
    palestra = os.environ.get("PALESTRA", "target/release/palestra")
    environ = os.environ | {"OMP_NUM_THREADS": threads}
    print("| layers x width | parameters | FLOPs a token | tokens/s | GFLOP/s | memory planned | memory measured |")
    print("|---|---|---|---|---|---|---|")
    for size in SIZES:
        keys = {f"model.{key}": value for key, value in size.items()}
        keys |= {"train.threads": threads, "train.updates": 4, "text.steps": 5, "train.evaluate_every": 4}
        keys |= {"text.validation_windows": 16, "text.samples": 0}
        settings = [f"--set={key}={value}" for key, value in keys.items()]
        with tempfile.TemporaryDirectory() as folder:
            call = lambda *words: json.loads(
                subprocess.run([palestra, "--quiet", "--json", *words, *settings], env=environ, check=True, capture_output=True).stdout
            )
            plan = call("plan", RECIPE)
            report = call("train", RECIPE, f"--out={folder}/run")
            lines = [json.loads(line) for line in Path(folder, "run/metrics.jsonl").read_text().splitlines()]
        speed = statistics.median(line["throughput/update_tokens_per_second"] for line in lines[1:])
        print(
            f"| {size['layers']} x {size['width']} | {plan['parameters'] / 1e6:.2f} M | {plan['flops_per_token'] / 1e6:.1f} M "
            f"| {speed:,.0f} | {speed * plan['flops_per_token'] / 1e9:.0f} | {plan['memory']['total'] / 1e6:,.0f} MB "
            f"| {report['peak_memory_bytes'] / 1e6:,.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "1")
