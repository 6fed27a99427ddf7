"""Logs of experience from and to data frames. Needs pyarrow.

>>> import palestra
>>> rows = [dict(episode_id="a", step=0, observation="1+1", action="2", reward=1.0, terminated=True, truncated=False)]
>>> palestra.Log.write("log.parquet", rows)  # doctest: +SKIP
Log('log.parquet')
"""

import os
from pathlib import Path
from typing import Any, Union

#: Columns that a log must have.
REQUIRED = ("episode_id", "step", "observation", "action", "reward", "terminated", "truncated")


class Log:
    """A log of experience: a Parquet file with one row for each turn."""

    def __init__(self, path: Union[str, Path]) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Log({str(self.path)!r})"

    def to_arrow(self) -> Any:
        """The rows as a table of pyarrow."""
        from pyarrow import parquet

        return parquet.read_table(self.path)

    def to_pandas(self) -> Any:
        """The rows as a data frame of pandas."""
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """The rows as a data frame of Polars."""
        import polars

        return polars.from_arrow(self.to_arrow())

    @classmethod
    def write(cls, path: Union[str, Path], rows: Any, *, overwrite: bool = False) -> "Log":
        """Writes rows as a log: a data frame of pandas or Polars, a table of pyarrow, or dicts.

        The rows of an episode stand together, and its steps are 0, 1, 2 and so on; ``palestra log check`` tells what is
        wrong. The columns are those of docs/offline.md and of recorded logs. Columns that the format does not know are refused. A file that exists is refused, unless ``overwrite``.
        """
        from pyarrow import parquet

        known, names = _schema(), _names(rows)
        lacking = [name for name in REQUIRED if name not in names and f"{name}_messages" not in names]
        if lacking:
            raise ValueError(f"the rows have no column `{lacking[0]}`; a log needs {', '.join(REQUIRED)}")
        unknown = [name for name in names if name not in known.names]
        if unknown:
            raise ValueError(f"the column `{unknown[0]}` is not known; a log may have {', '.join(known.names)}")
        schema = known.empty_table().select(names).schema
        table = _table(rows, schema)
        for name in names:
            empty = table.column(name).null_count
            if empty and not schema.field(name).nullable:
                raise ValueError(f"the column `{name}` has {empty} rows without a value; each row needs one")
        path = Path(path)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists; overwrite=True replaces it")
        hidden = path.with_name(f".{path.name}.new")
        parquet.write_table(table, hidden)
        os.replace(hidden, path)
        return cls(path)


def _names(rows: Any) -> list:
    """The names of the columns."""
    columns = getattr(rows, "column_names", None) or getattr(rows, "columns", None)
    return list(dict.fromkeys(name for row in rows for name in row)) if columns is None else list(columns)


def _table(rows: Any, schema: Any) -> Any:
    """Rows with the types of a log."""
    import pyarrow

    if hasattr(rows, "iloc"):  # pandas
        return pyarrow.Table.from_pandas(rows, schema=schema, preserve_index=False).replace_schema_metadata(schema.metadata)
    if isinstance(rows, pyarrow.Table) or hasattr(rows, "to_arrow"):  # Polars has `to_arrow`
        table = rows if isinstance(rows, pyarrow.Table) else rows.to_arrow()
        return table.cast(pyarrow.schema([field.with_nullable(True) for field in schema], metadata=schema.metadata))
    return pyarrow.Table.from_pylist(rows, schema=schema)


def _schema() -> Any:
    """The columns of a log, in version 1 of its format (docs/offline.md)."""
    import pyarrow
    from pyarrow import bool_, float32, list_, map_, string, timestamp, uint32, uint64

    def values(kind: Any) -> Any:
        return list_(pyarrow.field("element", kind, nullable=False))

    needed = {"episode_id", "step", "action", "reward", "terminated", "truncated"}
    kinds = {
        "episode_id": string(),
        "step": uint32(),
        "env_id": string(),
        "env_version": uint32(),
        "env_spec": string(),
        "seed": uint64(),
        "split": string(),
        "observation": string(),
        "observation_messages": string(),
        "prompt_ids": values(uint32()),
        "action": string(),
        "action_ids": values(uint32()),
        "legal_actions": values(string()),
        "final_observation": string(),
        "final_observation_messages": string(),
        "reward": float32(),
        "reward_parts": map_(string(), float32()),
        "terminated": bool_(),
        "truncated": bool_(),
        "end_reason": string(),
        "invalid_action": bool_(),
        "policy_id": string(),
        "policy_step": uint64(),
        "tokenizer_hash": string(),
        "log_probs": values(float32()),
        "temperature": float32(),
        "top_p": float32(),
        "reward_source": string(),
        "rater_id": string(),
        "info": string(),
        "timestamp": timestamp("us", tz="UTC"),
    }
    fields = [pyarrow.field(name, kind, nullable=name not in needed) for name, kind in kinds.items()]
    return pyarrow.schema(fields, metadata={"schema_version": "1"})
