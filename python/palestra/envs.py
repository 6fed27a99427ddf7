"""Palestra's environments as Gymnasium's.

>>> import gymnasium, palestra.envs  # doctest: +SKIP
>>> env = gymnasium.make("palestra/snake-6x6-v1")  # doctest: +SKIP
>>> envs = gymnasium.make_vec("palestra/snake-6x6-v1", num_envs=8)  # doctest: +SKIP

Importing this module registers every environment of the program ``palestra``, by its id and by a name in Gymnasium's
style (``palestra/Snake-6x6-v1``). The program is looked for in the environment variable ``PALESTRA``, beside the running
Python, and on the path. `make` and `make_vec` here also take the path of a TOML definition.
"""

import json
import subprocess
from typing import Any, Optional

import gymnasium
import numpy
from gymnasium import spaces

from .program import Process, program

#: Maximum length of an observation, in characters.
LONGEST = 1 << 20

#: Seeds that are drawn for episodes without one.
_SEEDS = 2**63


class _Spaces:
    """The spaces of an environment: texts, and the index of an action where they are listed."""

    def __init__(self, process: Process) -> None:
        first = process.ask([{"type": "reset", "session": 0, "seed": 0}])[0]
        alphabet = process.hello["spec"]["alphabet"]
        charset = {} if alphabet is None else {"charset": frozenset(alphabet)}
        self.observation = spaces.Text(max_length=LONGEST, min_length=0, **charset)
        #: Names of the actions; an environment that lists none is played by free text.
        self.actions: Optional[list] = first.get("legal_actions")
        text = spaces.Text(max_length=LONGEST, min_length=0, **charset)
        self.action = text if self.actions is None else spaces.Discrete(len(self.actions))

    def name(self, action: Any) -> str:
        return action if self.actions is None else self.actions[int(action)]

    def info(self, answer: dict) -> dict:
        """The info of an answer, with the legal actions, and their mask over the space."""
        info, legal = dict(answer["info"]), answer.get("legal_actions")
        if self.actions is not None and legal is not None:
            info["legal_actions"] = legal
            info["action_mask"] = numpy.array([action in legal for action in self.actions], dtype=numpy.int8)
        if "invalid_action" in answer:
            info["invalid_action"] = answer["invalid_action"]
        return info


def _text(observation: Any) -> str:
    """An observation as text; messages are lines ``role: text``."""
    if isinstance(observation, str):
        return observation
    return "\n".join(f"{message['role']}: {message.get('content')}" for message in observation)


class PalestraEnv(gymnasium.Env):
    """One of Palestra's environments. Observations are texts; actions are indices into `actions`, or texts."""

    metadata = {"render_modes": ["ansi"], "render_fps": 4}

    def __init__(self, name: str, render_mode: Optional[str] = None) -> None:
        self.render_mode = render_mode
        self._process = Process([name], "env")
        self._spaces = _Spaces(self._process)
        self.observation_space, self.action_space = self._spaces.observation, self._spaces.action
        self.actions = self._spaces.actions

    def reset(self, *, seed: Optional[int] = None, options: Optional[dict] = None) -> tuple:
        super().reset(seed=seed)
        episode = int(self.np_random.integers(_SEEDS)) if seed is None else seed
        answer = self._process.ask([{"type": "reset", "session": 0, "seed": episode}])[0]
        return _text(answer["observation"]), self._spaces.info(answer)

    def step(self, action: Any) -> tuple:
        request = {"type": "step", "session": 0, "action": self._spaces.name(action)}
        answer = self._process.ask([request])[0]
        info = self._spaces.info(answer)
        return _text(answer["observation"]), answer["reward"], answer["terminated"], answer["truncated"], info

    def render(self) -> Optional[str]:
        if self.render_mode != "ansi":
            return None
        return self._process.ask([{"type": "render", "session": 0}])[0]["text"]

    def close(self) -> None:
        self._process.close()


class PalestraVectorEnv(gymnasium.vector.VectorEnv):
    """Many episodes of one environment in one process. An episode that ended is reset with the next step, whose action it
    does not play, as in Gymnasium's mode ``NEXT_STEP``."""

    metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP, "render_modes": ["ansi"]}

    def __init__(self, name: str, num_envs: int = 1, render_mode: Optional[str] = None) -> None:
        self.num_envs, self.render_mode = num_envs, render_mode
        self._process = Process([name], "env")
        self._spaces = _Spaces(self._process)
        self.single_observation_space, self.single_action_space = self._spaces.observation, self._spaces.action
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)
        self.actions = self._spaces.actions
        self._ended = numpy.zeros(num_envs, dtype=bool)

    def _reset_request(self, session: int, seed: Optional[int]) -> dict:
        episode = int(self.np_random.integers(_SEEDS)) if seed is None else seed
        return {"type": "reset", "session": session, "seed": episode}

    def _observed(self, answers: list) -> tuple:
        infos: dict = {}
        for index, answer in enumerate(answers):
            infos = self._add_info(infos, self._spaces.info(answer), index)
        return tuple(_text(answer["observation"]) for answer in answers), infos

    def reset(self, *, seed: Any = None, options: Optional[dict] = None) -> tuple:
        if isinstance(seed, int):
            super().reset(seed=seed)
            seeds = [seed + index for index in range(self.num_envs)]
        else:
            seeds = [None] * self.num_envs if seed is None else list(seed)
        self._ended[:] = False
        return self._observed(self._process.ask([self._reset_request(*pair) for pair in enumerate(seeds)]))

    def step(self, actions: Any) -> tuple:
        requests = []
        for session, action in enumerate(actions):
            if self._ended[session]:
                requests.append(self._reset_request(session, None))
            else:
                requests.append({"type": "step", "session": session, "action": self._spaces.name(action)})
        answers = self._process.ask(requests)
        observations, infos = self._observed(answers)
        rewards = numpy.array([answer.get("reward", 0.0) for answer in answers], dtype=numpy.float64)
        terminated = numpy.array([answer.get("terminated", False) for answer in answers], dtype=bool)
        truncated = numpy.array([answer.get("truncated", False) for answer in answers], dtype=bool)
        self._ended = terminated | truncated
        return observations, rewards, terminated, truncated, infos

    def render(self) -> Optional[tuple]:
        if self.render_mode != "ansi":
            return None
        requests = [{"type": "render", "session": session} for session in range(self.num_envs)]
        return tuple(answer["text"] for answer in self._process.ask(requests))

    def close_extras(self, **kwargs: Any) -> None:
        self._process.close()


def make(name: str, render_mode: Optional[str] = None) -> PalestraEnv:
    """An environment by its name, or by the path of its TOML definition."""
    return PalestraEnv(name, render_mode)


def make_vec(name: str, num_envs: int, render_mode: Optional[str] = None) -> PalestraVectorEnv:
    """Many episodes of an environment at once."""
    return PalestraVectorEnv(name, num_envs, render_mode)


def gymnasium_style(name: str) -> str:
    """An id as Gymnasium writes its own.

    >>> gymnasium_style("frozen-lake-4x4-v1"), gymnasium_style("tic-tac-toe-v1")
    ('FrozenLake-4x4-v1', 'TicTacToe-v1')
    """
    return "".join(word.capitalize() if word.isalpha() else f"-{word}" for word in name.split("-"))


def _register() -> None:
    listed = json.loads(subprocess.run([program(), "envs", "--json"], capture_output=True, check=True).stdout)
    for environment in listed["environments"]:
        spec = environment["spec"]
        for name in dict.fromkeys((spec["id"], gymnasium_style(spec["id"]))):
            gymnasium.register(
                id=f"palestra/{name}",
                entry_point=PalestraEnv,
                vector_entry_point=PalestraVectorEnv,
                kwargs={"name": environment["name"]},
                nondeterministic=not spec["reproducible"],
                order_enforce=False,
            )


_register()
