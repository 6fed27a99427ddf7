"""Training runs from Python.

>>> import palestra
>>> run = palestra.train("snake-ppo", {"train.updates": 2}, out="runs/snake")  # doctest: +SKIP
>>> run.metrics()["episode/return_mean"]  # doctest: +SKIP

The program ``palestra`` trains in a process of its own; a run is the directory that it wrote.
"""

import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional, Union

from .policy import Policy
from .program import program


class TrainingError(RuntimeError):
    """A run that was refused or failed, with the message of the program."""


class Run:
    """A run directory."""

    def __init__(self, path: Union[str, Path], summary: Optional[dict] = None) -> None:
        self.path = Path(path)
        #: What the training told at its end: returns before and after it, of the baselines, seconds and memory. None for a
        #: directory that was opened.
        self.summary = summary
        if not (self.path / "run.toml").exists():
            raise FileNotFoundError(f"{self.path}: it is no run directory: it has no run.toml")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def metrics(self) -> Any:
        """The metrics of each update: a data frame of pandas if it is installed, else a dict of lists. A metric that an
        update does not have is NaN, or None in a list."""
        rows = list(_lines(self.path / "metrics.jsonl"))
        try:
            import pandas
        except ImportError:
            names = dict.fromkeys(name for row in rows for name in row)
            return {name: [row.get(name) for row in rows] for name in names}
        return pandas.DataFrame(rows)

    def episodes(self) -> Iterator[dict]:
        """The sample episodes, each with ``id``, ``seed`` and ``turns``."""
        return _lines(self.path / "episodes.jsonl")

    def checkpoints(self) -> list:
        """The names of its checkpoints, oldest first."""
        return sorted(path.name for path in (self.path / "checkpoints").iterdir() if not path.name.startswith("."))

    def load_policy(self, checkpoint: Optional[str] = None, **settings: Any) -> Policy:
        """The policy of a checkpoint by its name; absent, of the best, or else of the last. ``settings`` are those of
        `Policy`."""
        return Policy(self.path if checkpoint is None else self.path / "checkpoints" / checkpoint, **settings)

    @functools.cached_property
    def policy(self) -> Policy:
        """The policy of the best checkpoint, or else of the last: ``run.policy.act(observation)``."""
        return self.load_policy()

    def evaluate(self, episodes: Optional[int] = None, seed: int = 0) -> dict:
        """Plays episodes with the trained policy: its mean return with its standard error, and more."""
        count = [] if episodes is None else ["--episodes", str(episodes)]
        return _told(["evaluate", str(self.path), "--seed", str(seed), *count])


def train(
    run: Union[str, Path, Mapping[str, Any]],
    overrides: Optional[Mapping[str, Any]] = None,
    *,
    out: Union[str, Path, None] = None,
    resume: bool = False,
) -> Run:
    """Trains a run file, a recipe by its name, or a dict with the tables of a run file, and returns the run.

    ``overrides`` are keys with points and their values, as of ``--set``. Files that a dict names are looked for in the
    current directory. Progress goes to standard error. A mistake in the run file is a `TrainingError` with its message.
    """
    arguments = [] if out is None else ["--out", str(out)]
    arguments += ["--resume"] if resume else []
    arguments += to_set(overrides)
    if not isinstance(run, Mapping):
        told = _told(["train", str(run), *arguments])
        return Run(told["run_dir"], told)
    # Paths of a run file begin at its folder.
    with tempfile.NamedTemporaryFile("w", suffix=".toml", prefix=".palestra-", dir=os.curdir, encoding="utf-8") as file:
        file.write(to_toml(run))
        file.flush()
        told = _told(["train", file.name, *arguments])
    return Run(told["run_dir"], told)


def to_set(overrides: Optional[Mapping[str, Any]]) -> list:
    """Overrides as arguments of the program."""
    pairs = ((key, _toml(value)) for key, value in (overrides or {}).items())
    return [argument for key, value in pairs for argument in ("--set", f"{key}={value}")]


def to_toml(tables: Mapping[str, Any]) -> str:
    """A dict as TOML; a value that is None is left out.

    >>> print(to_toml({"name": "lake", "env": {"id": "snake-6x6", "options": {"view": "compact"}}}))
    name = "lake"
    env = {"id" = "snake-6x6", "options" = {"view" = "compact"}}
    """
    return "\n".join(f"{_key(name)} = {_toml(value)}" for name, value in tables.items() if value is not None)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(inner)}" for name, inner in value.items() if inner is not None) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # what JSON writes so, TOML does too
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Path):
        return _toml(str(value))
    raise TypeError(f"{value!r} has no form in TOML; write a text, a number, true or false, a list, or a dict")


def _told(arguments: list) -> dict:
    """What the program tells with ``--json``."""
    done = subprocess.run([program(), *arguments, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    words = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode != 0:
        raise TrainingError(_message(words) or f"`palestra {arguments[0]}` ended with status {done.returncode}")
    return json.loads(done.stdout)


def _message(words: str) -> str:
    """The message of the object on standard error that tells an error, or else all that stands there."""
    last = words.rpartition("\n")[2]
    try:
        told = json.loads(last)
    except ValueError:
        return words
    error = told.get("error", told) if isinstance(told, dict) else told
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def _lines(path: Path) -> Iterator[dict]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
