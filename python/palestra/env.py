"""The environment as its author writes it."""

import contextlib
import functools
import sys
from dataclasses import dataclass, field
from typing import Any, Optional, Union

#: A text, or the messages of a conversation: a list of ``{"role": ..., "content": ...}``.
Content = Union[str, list]


@dataclass
class Observation:
    """The state as the agent sees it."""

    content: Content
    #: The legal actions, if they can be listed.
    legal_actions: Optional[list] = None
    #: Facts for metrics and rewards, which the agent does not see.
    info: dict = field(default_factory=dict)
    #: The action of a scripted policy, if there is one.
    scripted_action: Optional[str] = None


@dataclass
class Step(Observation):
    """The result of an action: the state after it, its reward, and the end of the episode."""

    reward: float = 0.0
    #: True if the episode has come to its end.
    terminated: bool = False
    #: True if it was cut off, as by a limit of turns.
    truncated: bool = False
    #: True if the action could not be read, or is forbidden.
    invalid_action: bool = False


class Env:
    """An environment that is played by writing text.

    A subclass sets what is known of it as attributes, and defines ``reset`` and ``step``:

    >>> class Coin(Env):
    ...     id = "coin-v1"
    ...     max_turns = 1
    ...     def reset(self, seed):
    ...         self.side = ["heads", "tails"][seed % 2]
    ...         return Observation("Heads or tails?", legal_actions=["heads", "tails"])
    ...     def step(self, action):
    ...         return Step("", reward=float(action == self.side), terminated=True)
    >>> env = Coin()
    >>> env.reset(7).content, env.step("tails").reward
    ('Heads or tails?', 1.0)
    """

    #: Name with version. Any change of rules, rewards or observations raises the version.
    id: str = "env-v1"
    #: Maximum number of turns; longer episodes are truncated. None if there is no limit.
    max_turns: Optional[int] = None
    #: Least and greatest reward of one step; None if they are not known.
    reward_range: Optional[tuple] = None
    #: Mean return of the best policy, if it is known.
    optimal_return: Optional[float] = None
    #: Mean return from which the environment counts as solved, if there is one.
    solved_return: Optional[float] = None
    #: True if two seeds can give two different episodes for the same actions.
    stochastic: bool = True
    #: True if the same seed and actions give the same episode.
    reproducible: bool = True
    #: Number of tasks, if they are numbered: `reset` then begins task ``seed % tasks``, and a run meets each task once
    #: before it meets one again.
    tasks: Optional[int] = None
    #: All characters of observations and actions, which a model that is trained from nothing needs.
    alphabet: Optional[str] = None

    def reset(self, seed: int) -> Union[Content, Observation]:
        """Starts an episode, which depends on the seed alone, and returns the first observation.

        A method with a parameter ``options`` also gets the table ``reset_options`` of the run file.
        """
        raise NotImplementedError

    def step(self, action: str) -> Union[Step, tuple]:
        """Plays an action. Returns a `Step`, or Gymnasium's ``(observation, reward, terminated, truncated, info)``.

        An action that cannot be read is no exception but a step with ``invalid_action``.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Frees what the episode used."""

    @classmethod
    def spec(cls) -> dict[str, Any]:
        """What is known before an episode, as the protocol has it."""
        names = ("id", "max_turns", "reward_range", "optimal_return", "solved_return")
        names += ("stochastic", "reproducible", "tasks", "alphabet")
        return {name: getattr(cls, name) for name in names}

    # A subclass with a method `render(self) -> str` has pictures of its states; others are shown by their observations.


def quiet(make):
    """Decorates a function of an adapter so that what a package prints goes to standard error: standard output is for
    messages."""

    @functools.wraps(make)
    def quietly(*arguments, **named):
        with contextlib.redirect_stdout(sys.stderr):
            return make(*arguments, **named)

    return quietly
