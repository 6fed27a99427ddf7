"""Opens the log of `examples/write_log.rs` with pyarrow, Polars and DuckDB, and checks all that is in it.

    pip install pyarrow polars duckdb
    cargo run -p palestra-datasets --example write_log -- /tmp/log.parquet
    python3 datasets/tests/foreign/read.py /tmp/log.parquet
"""

import datetime
import sys

import duckdb
import polars
import pyarrow.parquet as pq

path = sys.argv[1]


def expected():
    for number in range(100):
        even, last = number % 2 == 0, number % 5
        optional = (lambda value: value) if even else (lambda value: None)
        for step in range(last + 1):
            end = [True, False, None][number % 3] if step == last else None
            yield {
                "episode_id": f"example/{number}",
                "step": step,
                "env_id": "count-v3",
                "env_version": 3,
                "env_spec": optional('{"to": 5}'),
                "seed": optional(2**64 - 1 - number),
                "split": optional("train"),
                "observation": f"episode {number}, step {step}: ü 蛇",
                "observation_messages": None,
                "prompt_ids": optional(list(range(step))),
                "action": f"count to {step}\n",
                "action_ids": optional([number, 2**32 - 1]),
                "legal_actions": optional(["count", ""]),
                "final_observation": optional("the end") if step == last else None,
                "final_observation_messages": None,
                "reward": step / 4,
                "reward_parts": optional({"rules": step / 4}),
                "terminated": end is True,
                "truncated": end is False,
                "end_reason": "cut" if step == last and number % 3 == 2 else None,
                "invalid_action": step == 3,
                "policy_id": "example",
                "policy_step": number,
                "tokenizer_hash": optional("abc"),
                "log_probs": optional([-0.5, -step]),
                "temperature": optional(0.5),
                "top_p": optional(1.0),
                "reward_source": optional("rules"),
                "rater_id": optional("nobody"),
                "info": optional(f'{{"step": {step}}}'),
                "timestamp": optional(1_700_000_000_000_000 + step),
            }


def parts(value):
    """Maps come as a dictionary, as a list of pairs or as a list of {key, value}."""
    if value is None or isinstance(value, dict):
        return value
    return dict((pair["key"], pair["value"]) if isinstance(pair, dict) else pair for pair in value)


def microseconds(value):
    if not isinstance(value, datetime.datetime):
        return value
    since = value - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return since // datetime.timedelta(microseconds=1)


def compare(tool, rows):
    wanted = list(expected())
    assert len(rows) == len(wanted), f"{tool}: {len(rows)} rows, expected {len(wanted)}"
    for index, (found, want) in enumerate(zip(rows, wanted)):
        assert list(found) == list(want), f"{tool}: columns {list(found)}"
        found |= {"reward_parts": parts(found["reward_parts"]), "timestamp": microseconds(found["timestamp"])}
        for column, value in want.items():
            assert found[column] == value, f"{tool}: row {index}, {column}: {found[column]!r}, expected {value!r}"
    print(f"{tool}: {len(rows)} rows as expected")


log = pq.ParquetFile(path)
assert log.metadata.metadata[b"schema_version"] == b"1"
assert log.metadata.num_row_groups > 1
compare("pyarrow", log.read().to_pylist())
compare("Polars", polars.read_parquet(path).to_dicts())
# As a number, since DuckDB wants one more package for times with a zone.
table = duckdb.execute("SELECT * REPLACE (epoch_us(timestamp) AS timestamp) FROM read_parquet(?)", [path])
names = [column[0] for column in table.description]
compare("DuckDB", [dict(zip(names, row)) for row in table.fetchall()])
