"""Rewards: a function becomes a program that ``palestra`` asks for scores."""

import inspect
from typing import Any, Callable

from .serve import PROTOCOL, Connection, _tell, answer

#: Parameters by which a function of whole batches, such as TRL's, is known.
_BATCH = {"prompts", "completions"}


def serve_reward(score: Callable[..., Any]) -> None:
    """Lets ``palestra`` ask a function for the scores of answers, until it closes the program.

    The function is called once for each answer, and returns a number, or None for no score. It gets what its parameters
    name: ``prompt``, ``answer``, ``row`` (the columns of the prompt's row), ``episode`` (all turns), or any column.

    A function with the parameter ``prompts`` or ``completions`` is called as TRL calls its reward functions: with lists
    of them, and a list for each column, and returns a list.
    """
    connection = Connection()
    for request in connection.messages():
        if request["type"] == "hello":
            _tell(connection, answer(request, lambda _: {"protocol": PROTOCOL}))
        else:
            _tell(connection, answer(request, lambda request: {"scores": scores(score, request["episodes"])}))


def scores(score: Callable[..., Any], episodes: list) -> list:
    """The scores of episodes, as the protocol has them."""
    parameters = inspect.signature(score).parameters
    if _BATCH & parameters.keys():
        found = _of_batch(score, parameters, episodes)
    else:
        found = [score(**_arguments(parameters, episode)) for episode in episodes]
    if len(found) != len(episodes):
        raise ValueError(f"{len(found)} scores for {len(episodes)} answers")
    return [None if one is None else float(one) for one in found]


def row_of(episode: dict) -> dict:
    """The columns of the row that an episode's prompt stands in."""
    return episode["turns"][-1].get("info", {}).get("row", {})


def _arguments(parameters: Any, episode: dict) -> dict:
    last, row = episode["turns"][-1], row_of(episode)
    known = {**row, "prompt": last["observation"], "answer": last["action"], "row": row, "episode": episode}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return known
    needed = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    lacking = [name for name in needed if name not in known]
    if lacking:
        raise ValueError(f"the row has no column `{lacking[0]}`; it has {sorted(row)}")
    return {name: known[name] for name in parameters if name in known}


def _of_batch(score: Callable[..., Any], parameters: Any, episodes: list) -> list:
    lasts, rows = [episode["turns"][-1] for episode in episodes], [row_of(episode) for episode in episodes]
    prompts = [last["observation"] for last in lasts]
    completions = [_completion(last) for last in lasts]
    columns: dict[str, list] = {"prompts": prompts, "completions": completions}
    for name in {name for row in rows for name in row}:
        columns.setdefault(name, [row.get(name) for row in rows])
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        columns = {name: column for name, column in columns.items() if name in parameters}
    return list(score(**columns))


def _completion(turn: dict) -> Any:
    """An answer in the form of its prompt, as in TRL: a text to a text, messages to messages."""
    is_text = isinstance(turn["observation"], str)
    return turn["action"] if is_text else [{"role": "assistant", "content": turn["action"]}]
