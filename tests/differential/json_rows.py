#!/usr/bin/env python3
"""JSON rows as Python's json reads them: the fixture of `datasets`.

    python3 tests/differential/json_rows.py

It writes `json-rows.json`: each row's text with what Python reads, as JSON with sorted keys and only ASCII, or null where Python
refuses it. Rows are random objects, written in random ways: numbers of many forms, escapes, surrogates, names that are there
twice, white space, and a tenth of them damaged.
"""
import json, pathlib, random

SEED, ROWS = 18, 500

NUMBERS = ["0", "-0", "-0.0", "7", "-12", "1.5", "1e3", "1E+2", "2.5e-7", "1e-400", "123456789012345678", "9223372036854775807", "-9223372036854775808",
           "18446744073709551615", "18446744073709551616", "-9223372036854775809", "123456789012345678901234567890", "0.1", "1.7976931348623157e308",
           "5e-324", "2.2250738585072011e-308", "1e999", "-1e999", "9007199254740993", "0.30000000000000004", "3.141592653589793238462643", "1e22", "1e23"]
BROKEN = ["01", "+1", ".5", "1.", "1e", "-", "0x10", "NaN", "Infinity", "-Infinity", "1_000", "--1"]
PIECES = ["a", "é", "数", "🙂", " ", "\\n", "\\t", "\\\"", "\\\\", "\\/", "/", "\\u0041", "\\u00e9", "\\ud83d\\ude42", "\\b", "\\f", "\\r", "\\u0000", "\u007f", "\u2028"]
BROKEN_PIECES = ["\\x41", "\\u12", "\\ud83d", "\\ude42", "\\ud83d\\u0041", "\n", "\t", "\u0001", "\\", "\\'"]


class Writer:
    def __init__(self, rng):
        self.rng, self.is_broken = rng, rng.random() < 0.25

    def space(self):
        return self.rng.choice(["", "", "", " ", "\t", "  "])

    def text(self):
        pieces = PIECES + (BROKEN_PIECES if self.is_broken and self.rng.random() < 0.3 else [])
        return '"' + "".join(self.rng.choice(pieces) for _ in range(self.rng.randint(0, 5))) + '"'

    def number(self):
        return self.rng.choice(NUMBERS + (BROKEN if self.is_broken else []))

    def value(self, depth):
        kinds = [self.text, self.number, self.number, lambda: self.rng.choice(["true", "false", "null"])]
        if depth > 0:
            kinds += [lambda: self.array(depth - 1), lambda: self.object(depth - 1)]
        return self.space() + self.rng.choice(kinds)() + self.space()

    def array(self, depth):
        return "[" + ",".join(self.value(depth) for _ in range(self.rng.randint(0, 3))) + "]"

    def object(self, depth):
        name = lambda: self.rng.choice(['"a"', '"b"', '"a"', '"\\u0061"', self.text()])
        pair = lambda: self.space() + name() + self.space() + ":" + self.value(depth)
        return "{" + ",".join(pair() for _ in range(self.rng.randint(0, 4))) + "}"

    def row(self):
        text = self.object(2)
        if self.is_broken and self.rng.random() < 0.4:
            at = self.rng.randrange(len(text))
            text = self.rng.choice([text[:at], text[:at] + text[at + 1:], text[:at] + "," + text[at:], text + "}", text + " x"])
        return text


def read(text):
    """What Python reads. Three things that it accepts are refused, because JSON and UTF-8 have no form for them: NaN and infinite
    numbers, and halves of surrogate pairs. A whole number of more than 64 bits is a text in a field of the row, and refused
    deeper inside. `-0` is the float -0.0."""
    def refuse(name):
        raise ValueError(name)

    def real(digits):
        return float(digits) if abs(float(digits)) != float("inf") else refuse(digits)

    try:
        row = json.loads(text, parse_constant=refuse, parse_float=real, parse_int=lambda digits: -0.0 if digits == "-0" else int(digits))
        row = {name: str(value) if is_long(value) else value for name, value in row.items()}
        if any(map(has_long, row.values())):
            return None
        json.dumps(row, ensure_ascii=False).encode()
        return json.dumps(row, sort_keys=True)
    except ValueError:
        return None


def is_long(value):
    return isinstance(value, int) and not -2**63 <= value < 2**64


def has_long(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return is_long(value) or any(map(has_long, inner))


def main():
    rng = random.Random(SEED)
    rows = []
    while len(rows) < ROWS:
        text = Writer(rng).row()
        if "\n" not in text.strip():  # one row a line; a line end is white space to Python, and ends a row to us
            rows.append([text, read(text)])
    path = pathlib.Path(__file__).parent / "json-rows.json"
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    print(f"{len(rows)} rows, of which {sum(row[1] is None for row in rows)} are refused")


if __name__ == "__main__":
    main()
