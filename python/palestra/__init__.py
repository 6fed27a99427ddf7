"""Environments and rewards in Python for Palestra.

An environment is a class with ``reset`` and ``step``; ``serve`` lets ``palestra`` play it. A reward is a function;
``serve_reward`` lets ``palestra`` ask it. Adapters for other packages are the modules ``palestra.gymnasium``,
``palestra.textarena``, ``palestra.reasoning_gym`` and ``palestra.verifiers``; each imports its package when it is used.

``train`` trains a run file or a dict, and ``Run`` is what it wrote; ``Policy`` is a trained policy, or a language model,
that acts. They need the program ``palestra``.
``Log`` writes and reads logs of experience; it needs pyarrow.

This package needs Python 3.10 or later and nothing else.
"""

from .env import Env, Observation, Step
from .log import Log
from .policy import Policy
from .reward import serve_reward
from .run import Run, TrainingError, train
from .serve import PROTOCOL, serve

__all__ = ["PROTOCOL", "Env", "Log", "Observation", "Policy", "Run", "Step", "TrainingError", "serve", "serve_reward", "train"]
