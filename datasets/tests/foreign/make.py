"""Writes the Parquet files of this folder: experience logs as pyarrow, Polars and DuckDB write them.

    pip install pyarrow polars duckdb
    python3 make.py

All of them hold the same three episodes, which `../log/foreign.rs` expects.
"""

import os

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq

# id, observation, action, reward, terminated, truncated
TURNS = [
    ("a", "left or right?", "left", -1.0, False, False),
    ("a", "left or right? ü 蛇", "right", 0.5, True, False),
    ("b", "", "up", 0.0, False, True),
    ("c", "left or right?", "left", -1.0, False, False),
    ("c", "a line\nand another", "", 2.25, False, False),
]
STEPS = [0, 1, 0, 0, 1]


def columns():
    ids, observations, actions, rewards, terminated, truncated = map(list, zip(*TURNS))
    return {
        "episode_id": ids,
        "step": STEPS,
        "observation": observations,
        "action": actions,
        "reward": rewards,
        "terminated": terminated,
        "truncated": truncated,
    }


def pyarrow_plain(path):
    pq.write_table(pa.table(columns()), path)


def pyarrow_wide(path):
    """Other types, other encodings and pages, and columns of its own, some of them of types that we never read."""
    wide = columns()
    text = pa.dictionary(pa.int32(), pa.large_string())
    table = pa.table(
        {
            "note": pa.array([[{"deep": 1}]] * 5),
            "truncated": pa.array([int(flag) for flag in wide["truncated"]], pa.int64()),
            "terminated": pa.array([int(flag) for flag in wide["terminated"]], pa.uint8()),
            "reward": pa.array(wide["reward"], pa.float64()),
            "action": pa.array(wide["action"], pa.string_view()),
            "observation": pa.array(wide["observation"], pa.large_string()),
            "step": pa.array(wide["step"], pa.int64()),
            "episode_id": pa.array(wide["episode_id"]).cast(text),
            "price": pa.array([1, 2, 3, 4, 5], pa.decimal128(20, 2)),
        }
    )
    pq.write_table(
        table, path, compression="gzip", data_page_version="2.0", column_encoding={"step": "DELTA_BINARY_PACKED"},
        use_dictionary=["episode_id"], row_group_size=2, write_statistics=False,
    )


def pyarrow_extras(path):
    """Optional columns, with nulls wherever nulls may be."""
    table = pa.table(
        columns()
        | {
            "env_id": pa.array(["maze", None, "maze-v2", None, None]),
            "env_version": pa.array([1, 1, None, 5, None], pa.int16()),
            "seed": pa.array([7, 7, None, None, None], pa.int64()),
            "prompt_ids": pa.array([[1, 2], [], None, None, [70000]], pa.list_(pa.int64())),
            "action_ids": pa.array([[5], [6, 7], None, None, None], pa.large_list(pa.uint32())),
            "log_probs": pa.array([[-0.5], [-0.25, 0.0], [-1.0], None, None], pa.list_(pa.float64())),
            "legal_actions": pa.array([["left", "right"], None, [], None, [""]], pa.list_(pa.large_string())),
            "reward_parts": pa.array([[("rules", -1.0)], [], None, None, [("a", 2.0), ("b", 0.25)]],
                                     pa.map_(pa.string(), pa.float64())),
            "final_observation": pa.array([None, "home", "lost", None, None]),
            "end_reason": pa.array([None, "goal", None, None, None]),
            "invalid_action": pa.array([None, False, True, False, None]),
            "policy_id": pa.array([None] * 5, pa.null()),
            "policy_step": pa.array([3, 3, None, None, None], pa.int32()),
            "temperature": pa.array([0.5, 0.5, 1, None, None], pa.float64()),
            "info": pa.array(["{}", None, None, None, None]),
            "timestamp": pa.array([1_000_000_000, 2_000_000_000, None, None, None], pa.timestamp("ns")),
        }
    )
    pq.write_table(table, path, compression="snappy")


def polars_default(path):
    polars.DataFrame(columns()).write_parquet(path)


def polars_extras(path):
    """What Polars makes of dictionaries (a struct) and of lists of pairs."""
    frame = polars.DataFrame(
        columns()
        | {
            "reward_parts": [{"rules": -1.0, "length": None}, {"rules": 0.5, "length": 0.0}, None, None, None],
            "legal_actions": [["left", "right"], None, [], None, None],
            "prompt_ids": [[1, 2], [], None, None, None],
            "split": polars.Series(["train", "train", None, None, None], dtype=polars.Categorical),
            "rater_id": [None] * 5,
        }
    )
    frame.write_parquet(path, compression="lz4")


def duckdb_default(path):
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE log (episode_id VARCHAR, step INTEGER, observation VARCHAR, action VARCHAR, reward DOUBLE,"
        " terminated BOOLEAN, truncated BOOLEAN)"
    )
    rows = [(turn[0], step, *turn[1:]) for turn, step in zip(TURNS, STEPS)]
    connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.execute(f"COPY log TO '{path}' (FORMAT parquet)")


def duckdb_extras(path):
    """What DuckDB makes of literals: decimal rewards, 64-bit steps, maps, JSON."""
    parts = ["MAP {'rules': -1.0}", "NULL", "NULL", "NULL", "MAP {'a': 2.0, 'b': 0.25}"]
    rows = ", ".join(
        f"('{turn[0]}', {step}::BIGINT, '{turn[1]}', '{turn[2]}', {turn[3]}::DECIMAL(9, 2), {turn[4]}, {turn[5]},"
        f" {part}, [1, 2]::UBIGINT[], '{{}}'::JSON)"
        for turn, step, part in zip(TURNS, STEPS, parts)
    )
    names = "episode_id, step, observation, action, reward, terminated, truncated, reward_parts, prompt_ids, info"
    duckdb.execute(
        f"COPY (SELECT * FROM (VALUES {rows}) AS log({names})) TO '{path}' (FORMAT parquet, PARQUET_VERSION v2)"
    )


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    for make in [pyarrow_plain, pyarrow_wide, pyarrow_extras, polars_default, polars_extras, duckdb_default, duckdb_extras]:
        make(make.__name__ + ".parquet")
