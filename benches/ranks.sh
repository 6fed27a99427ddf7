#!/bin/bash
# Weak scaling of a run on text: the rows of a rank's share stay the same, and the ranks double.
#   benches/ranks.sh RUN.toml ROWS [RANKS ...]          PALESTRA=target/release/palestra, a program with MPI
# Prints, for each number of ranks, the means over the updates after the first: tokens a second of all ranks, the efficiency
# against one rank, the time and the share of a step in communication, and the bytes that a rank sends.
set -euo pipefail
run=$1 rows=$2
shift 2
ranks=("${@:-1}")
program=${PALESTRA:-target/release/palestra}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

printf '%5s %12s %10s %10s %8s %14s\n' ranks tokens/s efficiency s/step share bytes/step
for count in "${ranks[@]}"; do
    out=$folder/$count
    mpirun --allow-run-as-root --oversubscribe --bind-to none -n "$count" "$program" train "$run" --quiet --out "$out" \
        --set "text.batch=$((rows * count))" --set train.threads="${THREADS:-1}" > "$folder/report" 2>&1 \
        || { cat "$folder/report" >&2; exit 1; }
    python3 - "$out/metrics.jsonl" "$count" "$folder/base" <<'PYTHON'
import json, pathlib, sys

lines = [json.loads(line) for line in open(sys.argv[1])][1:]
mean = lambda name: sum(line.get(name, 0.0) for line in lines) / len(lines)
count, base = int(sys.argv[2]), pathlib.Path(sys.argv[3])
speed = mean("throughput/update_tokens_per_second")
if not base.exists():
    base.write_text(str(speed / count))
step = mean("update/seconds") / mean("update/steps")
share = mean("collective/seconds") / step
efficiency = speed / count / float(base.read_text())
print(f"{count:5} {speed:12.0f} {efficiency:10.2f} {step:10.4f} {share:8.2f} {mean('collective/bytes'):14.0f}")
PYTHON
done
