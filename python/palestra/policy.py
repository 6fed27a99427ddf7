"""A trained policy, asked for actions.

>>> import palestra
>>> with palestra.Policy("runs/snake-ppo") as policy:  # doctest: +SKIP
...     policy.act("h....\\n.f...", ["up", "down"], seed=7)
'up'

The program ``palestra`` holds the model in a process of its own.
"""

from pathlib import Path
from typing import Any, Iterable, Mapping, Optional, Sequence, Union

from .env import Content, Observation
from .program import Process


class Policy:
    """A policy that acts: the directory of a run (its best checkpoint, else its last), of one of its checkpoints, or of a
    model in Hugging Face's layout, or a GGUF file.

    A run's policy acts as in its evaluation. A model continues a text, and answers messages by its chat template. The
    process starts with the first action, and ends with ``close``, with a ``with`` block, or with Python.

    ``device`` and ``threads`` are those of the process, ``overrides`` keys of the run file with their values. An action, or
    a batch of them, may take ``timeout`` seconds, and loading the model ``start_timeout``.
    """

    def __init__(
        self,
        path: Union[str, Path],
        *,
        device: Optional[str] = None,
        threads: Optional[int] = None,
        overrides: Optional[Mapping[str, Any]] = None,
        timeout: float = 600.0,
        start_timeout: float = 600.0,
    ) -> None:
        from .run import to_set

        self.path = Path(path)
        self._arguments = ["--policy", str(path), *to_set(overrides)]
        self._arguments += [] if device is None else ["--device", device]
        self._arguments += [] if threads is None else ["--threads", str(threads)]
        self._timeouts = {"timeout": timeout, "start_timeout": start_timeout}
        self._process: Optional[Process] = None
        self._seed = 0

    def __repr__(self) -> str:
        return f"Policy({str(self.path)!r})"

    def act(
        self,
        observation: Union[Content, Observation],
        legal_actions: Optional[Sequence[str]] = None,
        *,
        turns: Iterable[Mapping[str, Any]] = (),
        seed: Optional[int] = None,
        temperature: Optional[float] = None,
        max_new_tokens: Optional[int] = None,
    ) -> str:
        """The action in a state: a text, messages, or an `Observation` with its legal actions.

        With ``legal_actions`` it is one of them. ``turns`` are the earlier turns of the episode, oldest first, each with
        ``observation``, ``action`` and ``reward``, as in ``Run.episodes``; policies that read each observation alone pass
        over them (``context``). ``seed`` fixes the sampling; absent, it is 0 for the first action and rises by 1.
        ``temperature`` 0 takes the likeliest token; absent, it is that of the evaluation.
        """
        state = _state(observation, legal_actions, turns)
        return self._ask([state], seed, temperature, max_new_tokens)[0]

    def act_batch(
        self,
        observations: Sequence[Union[Content, Observation]],
        legal_actions: Optional[Sequence[Optional[Sequence[str]]]] = None,
        *,
        turns: Optional[Sequence[Iterable[Mapping[str, Any]]]] = None,
        seed: Optional[int] = None,
        temperature: Optional[float] = None,
        max_new_tokens: Optional[int] = None,
    ) -> list:
        """The actions in many states, computed together; each list has an entry for each observation.

        The first action has the ``seed``, and each further one a seed that is larger by 1.
        """
        legal = [None] * len(observations) if legal_actions is None else legal_actions
        earlier = [()] * len(observations) if turns is None else turns
        for name, given in (("legal_actions", legal), ("turns", earlier)):
            if len(given) != len(observations):
                raise ValueError(f"{name}: {len(given)} entries for {len(observations)} observations")
        states = [_state(*one) for one in zip(observations, legal, earlier)]
        return self._ask(states, seed, temperature, max_new_tokens)

    @property
    def context(self) -> str:
        """``"observation"`` if it reads each observation alone, ``"transcript"`` if it reads the earlier turns too."""
        return self._started().hello["policy"]["context"]

    def close(self) -> None:
        """Ends the process; another action starts a new one, as it does after a failure."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def __enter__(self) -> "Policy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self) -> Process:
        if self._process is None or not self._process.is_open:
            self._process = Process(self._arguments, "policy", **self._timeouts)
        return self._process

    def _ask(
        self, states: list, seed: Optional[int], temperature: Optional[float], max_new_tokens: Optional[int]
    ) -> list:
        first = self._seed if seed is None else seed
        for number, state in enumerate(states):
            state["seed"] = first + number
        options = {"temperature": temperature, "max_new_tokens": max_new_tokens}
        given = {name: value for name, value in options.items() if value is not None}
        answer = self._started().ask([{"type": "act", "session": 0, "states": states, **given}])[0]
        if seed is None:
            self._seed += len(states)
        return answer["actions"]


def _state(observation: Any, legal_actions: Optional[Sequence[str]], turns: Iterable[Mapping[str, Any]]) -> dict:
    if isinstance(observation, Observation):
        legal_actions = observation.legal_actions if legal_actions is None else legal_actions
        observation = observation.content
    state = {"observation": observation, "turns": [dict(turn) for turn in turns]}
    return state if legal_actions is None else {**state, "legal_actions": list(legal_actions)}
