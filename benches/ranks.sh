#!/bin/bash
# Weak scaling of fine-tuning beside PyTorch's DistributedDataParallel on gloo: the rows of a rank's share stay the same, and the
# ranks double. Both train the same model in 32 bits by AdamW, on as many rows, tokens and threads, one after the other.
#   benches/ranks.sh MODEL ROWS WINDOW [RANKS ...]
# MODEL is a directory in Hugging Face's layout; the ranks are 1, 2 and 4 if none are given. Variables: PALESTRA, a program with
# MPI (target/release/palestra); PYTHON, with torch and transformers (python3; `none` leaves PyTorch out); THREADS of a rank (1);
# STEPS that are measured (5, after one to warm up); SET, options of `palestra train`, such as --set=train.sharding=optimizer.
# Prints medians over the steps: tokens a second of all ranks, the efficiency against one rank of the same program, the time of a
# step, the part of it in communication, and the bytes that a rank sends. DDP adds gradients during the backward pass, so that
# it has no such part; its bytes are those of a ring.
set -euo pipefail
model=$(realpath "$1") rows=$2 window=$3
shift 3
ranks=("${@:-1}")
[ $# -gt 0 ] || ranks=(1 2 4)
program=$(realpath "${PALESTRA:-target/release/palestra}")
root=$(realpath "$(dirname "$0")/..")
threads=${THREADS:-1} steps=${STEPS:-5} python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat "$root"/docs/*.md > "$folder/text.txt"
cat > "$folder/run.toml" << RUN
name = "ranks"
device = "libtorch"
start_from = "$model"
[text]
files = ["text.txt"]
window = $window
validation_windows = 1
samples = 0
[supervised]
[optimizer]
learning_rate = 1e-5
[train]
updates = $((steps + 1))
threads = $threads
RUN

# A line of the table: the program, ranks, and the seconds, seconds in communication and bytes of each step.
line() {
    python3 - "$@" << 'PYTHON'
import json, pathlib, statistics, sys

name, count, tokens, base, file = sys.argv[1:]
# gloo writes lines of its own.
steps = [json.loads(line) for line in open(file) if line.startswith("{")][1:]
median = lambda key: statistics.median(step[key] for step in steps)
speed, base = float(tokens) / median("seconds"), pathlib.Path(base)
if not base.exists():
    base.write_text(str(speed / int(count)))
efficiency = speed / int(count) / float(base.read_text())
adding = f"{median('adding'):8.3f}" if "adding" in steps[0] else f"{'':8}"
print(f"{name:9}{count:>6}{speed:10.1f}{efficiency:12.3f}{median('seconds'):9.3f}{adding}{median('bytes'):14.0f}", flush=True)
PYTHON
}

printf '%-9s%6s%10s%12s%9s%8s%14s\n' program ranks tokens/s efficiency s/step adding bytes/step
for count in "${ranks[@]}"; do
    tokens=$((rows * count * window)) out=$folder/run-$count
    # shellcheck disable=SC2086 # options are words
    mpirun --allow-run-as-root --oversubscribe --bind-to none -n "$count" "$program" train "$folder/run.toml" --quiet \
        --out "$out" --set "text.batch=$((rows * count))" --set "text.micro_batch=$rows" ${SET:-} \
        > "$folder/told" 2>&1 || { cat "$folder/told" >&2; exit 1; }
    python3 - "$out/metrics.jsonl" > "$folder/ours" << 'PYTHON'
import json, sys

for line in map(json.loads, open(sys.argv[1])):
    steps = line["update/steps"]
    print(json.dumps({"seconds": line["update/seconds"] / steps, "adding": line.get("collective/seconds", 0.0),
                      "bytes": line.get("collective/bytes", 0.0)}))
PYTHON
    line palestra "$count" "$tokens" "$folder/ours-base" "$folder/ours"
    rm -rf "$out"
    [ "$python" = none ] && continue
    OMP_NUM_THREADS=$threads "$python" "$root/benches/ddp.py" "$model" "$count" "$rows" "$window" "$((steps + 1))" \
        > "$folder/theirs" 2> "$folder/told" || { cat "$folder/told" >&2; exit 1; }
    line ddp "$count" "$tokens" "$folder/theirs-base" "$folder/theirs"
done
