"""Gymnasium's environments, played by text.

>>> import palestra.gymnasium
>>> palestra.serve(palestra.gymnasium.make("CartPole-v1"))  # doctest: +SKIP

From the command line, without a program of one's own: ``python3 -m palestra.gymnasium CartPole-v1``.
"""

import json
import sys
from typing import Any, Callable, Optional, Type

from .env import Env, Observation, Step, quiet

#: Turns that are played to find out if seeds matter, and the number of seeds.
_PROBED_TURNS, _PROBED_SEEDS = 20, 16


@quiet
def make(
    name: str,
    *,
    describe: Optional[Callable[[Any], str]] = None,
    parse: Optional[Callable[[str], Any]] = None,
    actions: Optional[list] = None,
    stochastic: Optional[bool] = None,
    **arguments: Any,
) -> Type[Env]:
    """Returns the environment class of ``gymnasium.make(name, **arguments)``.

    ``describe`` writes an observation as text and ``parse`` reads an action, and raises ValueError if it cannot; the
    defaults know discrete, box, text, dict and tuple spaces. ``actions`` are the names of discrete actions, in order.
    An action that cannot be read changes nothing, has the reward 0 and is flagged invalid.
    """
    import gymnasium

    def build() -> Any:
        return gymnasium.make(name, **arguments)

    probe = build()
    space, spec = probe.action_space, probe.spec
    names = actions
    if names is None and isinstance(space, gymnasium.spaces.Discrete):
        names = [str(int(space.start) + index) for index in range(int(space.n))]
    read = parse or (lambda text: _read(space, text, names))
    write = describe or (lambda observation: _write(probe.observation_space, observation))
    seeds_matter = _seeds_matter(probe) if stochastic is None else stochastic
    limit = getattr(spec, "max_episode_steps", None)

    class Adapter(Env):
        id = name.rpartition("/")[2] if "-v" in name else f"{name.rpartition('/')[2]}-v0"
        max_turns = limit
        stochastic = seeds_matter
        reproducible = not getattr(spec, "nondeterministic", False)

        def __init__(self) -> None:
            self._env = build()
            self._last: Any = None

        def reset(self, seed: int, options: Optional[dict] = None) -> Observation:
            self._last, info = self._env.reset(seed=seed, options=options or None)
            return Observation(write(self._last), legal_actions=names, info=_plain(info))

        def step(self, action: str) -> Step:
            try:
                chosen = read(action)
            except (ValueError, TypeError, KeyError):
                return Step(write(self._last), legal_actions=names, invalid_action=True)
            self._last, reward, terminated, truncated, info = self._env.step(chosen)
            return Step(
                write(self._last),
                legal_actions=names,
                info=_plain(info),
                reward=float(reward),
                terminated=bool(terminated),
                truncated=bool(truncated),
            )

        def close(self) -> None:
            self._env.close()

    return Adapter


def _write(space: Any, value: Any) -> str:
    """An observation as text: numbers with three digits, and a line for each entry of a dict or tuple."""
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        return "\n".join(f"{name}: {_write(inner, value[name])}" for name, inner in space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return "\n".join(_write(inner, one) for inner, one in zip(space.spaces, value))
    if isinstance(space, spaces.Text):
        return str(value)
    if isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        return _numbers(value)
    return str(value)


def _numbers(value: Any) -> str:
    shape = getattr(value, "shape", ())
    if len(shape) > 1:
        return "\n".join(_numbers(row) for row in value)
    flat = value.tolist() if hasattr(value, "tolist") else value
    flat = flat if isinstance(flat, list) else [flat]
    return " ".join(f"{number:.3g}" if isinstance(number, float) else str(int(number)) for number in flat)


def _read(space: Any, text: str, names: Optional[list]) -> Any:
    """An action of a space from its text; raises ValueError if there is none."""
    import numpy
    from gymnasium import spaces

    text = text.strip()
    if isinstance(space, spaces.Discrete):
        return int(space.start) + (names or []).index(text)
    if isinstance(space, spaces.Text):
        value: Any = text
    elif isinstance(space, (spaces.Dict, spaces.Tuple)):
        value = _of_json(space, json.loads(text))
    else:
        value = numpy.array(text.replace(",", " ").split(), dtype=float).reshape(space.shape).astype(space.dtype)
    if value not in space:
        raise ValueError(f"{text!r} is not in {space}")
    return value


def _of_json(space: Any, value: Any) -> Any:
    """An element of a space from JSON: objects for dicts, lists for tuples and arrays."""
    import numpy
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        return {name: _of_json(inner, value[name]) for name, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_of_json(inner, one) for inner, one in zip(space.spaces, value, strict=True))
    if isinstance(space, (spaces.Discrete, spaces.Text)):
        return value
    return numpy.array(value, dtype=space.dtype).reshape(space.shape)


def _plain(info: dict) -> dict:
    """The part of an info that has a form in JSON."""

    def plain(value: Any) -> Any:
        value = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(value, dict):
            return {str(name): plain(inner) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(inner) for inner in value]
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if value - value == 0 else str(value)  # JSON has no infinity
        return str(value)

    return plain(info)


def _seeds_matter(env: Any) -> bool:
    """True if one of some seeds gives another episode for the same actions."""
    space = env.action_space
    space.seed(0)
    actions = [space.sample() for _ in range(_PROBED_TURNS)]

    def transcript(seed: int) -> str:
        seen = [repr(env.reset(seed=seed)[0])]
        for action in actions:
            observation, reward, terminated, truncated, _ = env.step(action)
            seen.append(repr((observation, reward, terminated, truncated)))
            if terminated or truncated:
                break
        return "".join(seen)

    first = transcript(0)
    return any(transcript(seed) != first for seed in range(1, _PROBED_SEEDS))


if __name__ == "__main__":
    from . import serve

    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python3 -m palestra.gymnasium NAME ['{\"argument\": ...}']")
    serve(make(sys.argv[1], **(json.loads(sys.argv[2]) if len(sys.argv) == 3 else {})))
