#!/bin/bash
# A corpus on 1, 2 and 4 ranks: time, the memory of each rank, and the duplicates that are dropped, which must be equal.
#   benches/corpus_ranks.sh MEGABYTES [RANKS ...]
# The text is drawn from a seed: rows of random words in files of a sixteenth, 2 in 100 of them copies of an earlier row, 3 in
# 100 with one word changed. Variables: PALESTRA, a program with MPI (target/release/palestra); THREADS of a rank (1).
# `sha256` is that of all shards: it is the same for any number of ranks.
set -euo pipefail
megabytes=$1
shift
ranks=("${@:-1}")
[ $# -gt 0 ] || ranks=(1 2 4)
program=$(realpath "${PALESTRA:-target/release/palestra}")
threads=${THREADS:-1}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 - "$megabytes" "$folder/in" << 'PYTHON'
import json, pathlib, random, sys

megabytes, folder = float(sys.argv[1]), pathlib.Path(sys.argv[2])
folder.mkdir()
draw = random.Random(7)
letters = "etaoinshrdlucmfwypvbgkqjxz"
words = ["".join(draw.choices(letters, range(26, 0, -1), k=draw.randint(2, 9))) for _ in range(20000)]
stops = ["the", "of", "and", "to", "that", "with"]
earlier = []
for file in range(16):
    with open(folder / f"part-{file:02}.jsonl", "w") as out:
        size = 0
        while size < megabytes * 1e6 / 16:
            kind = draw.random()
            if earlier and kind < .02:
                text = draw.choice(earlier)
            elif earlier and kind < .05:
                old = draw.choice(earlier).split(" ")
                old[draw.randrange(len(old))] = draw.choice(words)
                text = " ".join(old)
            else:
                sentences = [draw.choices(words, k=draw.randint(5, 20)) + draw.choices(stops, k=4) for _ in range(draw.randint(8, 40))]
                for sentence in sentences:
                    draw.shuffle(sentence)
                text = " ".join(" ".join(sentence).capitalize() + "." for sentence in sentences)
            if len(earlier) < 2000:
                earlier.append(text)
            elif draw.random() < .02:
                earlier[draw.randrange(2000)] = text
            row = json.dumps({"text": text}) + "\n"
            out.write(row)
            size += len(row)
PYTHON

printf '%6s%10s%12s  %-28s%10s%10s  %s\n' ranks seconds user "MB of each rank" kept dropped sha256
for count in "${ranks[@]}"; do
    out=$folder/out-$count
    # Each rank tells its own peak memory and processor time.
    # shellcheck disable=SC2016 # expanded by the shell of each rank
    run='exec /usr/bin/time -f "%M %U" -o "$1.${OMPI_COMM_WORLD_RANK:-0}" "${@:2}"'
    began=$(date +%s.%N)
    mpirun --allow-run-as-root --oversubscribe --bind-to none -n "$count" bash -c "$run" rank "$folder/used-$count" \
        "$program" corpus "$folder/in" --out "$out" --threads "$threads" --set shards.text_bytes=16777216 --quiet \
        > "$folder/told" 2>&1 || { cat "$folder/told" >&2; exit 1; }
    ended=$(date +%s.%N)
    python3 - "$count" "$began" "$ended" "$out" "$folder/used-$count" << 'PYTHON'
import glob, hashlib, json, pathlib, sys

count, began, ended, out, used = sys.argv[1:]
ranks = [open(file).read().split()[-2:] for file in sorted(glob.glob(used + ".*"))]
report = json.loads(pathlib.Path(out, "report.json").read_text())
shards = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(pathlib.Path(out).glob("*.parquet"))))
dropped = {by["rule"]: by["documents"] for by in report["dropped"]}
memory = " ".join(str(round(int(kilobytes) / 1000)) for kilobytes, _ in ranks)
user = sum(float(seconds) for _, seconds in ranks)
kept = report["train"]["documents"] + report["validation"]["documents"]
duplicates = f"{dropped.get('duplicates.exact', 0)}+{dropped.get('duplicates.near', 0)}"
print(f"{count:>6}{float(ended) - float(began):10.1f}{user:12.1f}  {memory:<28}{kept:>10}{duplicates:>10}  {shards.hexdigest()[:16]}")
PYTHON
    rm -rf "$out"
done
