"""Tasks of verifiers (version 0.4, ``verifiers.v1``) that one answer solves, scored by their own rewards.

From the command line: ``python3 -m palestra.verifiers NAME``, with the name of a taskset that is installed.
"""

import asyncio
import json
import sys
from typing import Any, Type

from .env import Env, Observation, Step, quiet


@quiet
def make(name: str, **config: Any) -> Type[Env]:
    """Returns the environment class of an installed taskset by its name, with the settings of its configuration."""
    from verifiers.v1.utils.loaders import taskset_class
    from verifiers.v1 import TasksetConfig
    from verifiers.v1.utils.generic import concrete_type

    kind = taskset_class(name)
    settings = concrete_type(kind, TasksetConfig) or TasksetConfig
    return adapt(kind(settings(id=name, **config)), name)


@quiet
def adapt(taskset: Any, name: str, tasks: int = 10_000) -> Type[Env]:
    """Returns the environment class of a taskset. A seed chooses one of its first ``tasks`` tasks.

    An episode is one answer; the reward is the weighted sum of the task's rewards, each of which is in the info. A reward
    that needs a container, as of tasks with tools, is not computed, and such a task is refused.
    """
    import verifiers.v1 as vf

    all_tasks = list(taskset.take(tasks))
    if not all_tasks:
        raise ValueError(f"{name}: it has no tasks")
    if any(type(task).NEEDS_CONTAINER or task.data.prompt is None for task in all_tasks):
        raise ValueError(f"{name}: it has tasks that no single answer to a prompt solves")

    class Adapter(Env):
        id = f"verifiers-{name.rpartition('/')[2].replace('_', '-')}-v1"
        max_turns = 1
        stochastic = len(all_tasks) > 1

        def reset(self, seed: int) -> Observation:
            self._task = all_tasks[seed % len(all_tasks)]
            data = self._task.data
            row = json.loads(data.model_dump_json(exclude_none=True))
            self._info = {"row": row}
            self._messages = _messages(data)
            is_text = isinstance(data.prompt, str) and data.system_prompt is None
            return Observation(data.prompt if is_text else self._messages, info=self._info)

        def step(self, action: str) -> Step:
            written = [*self._messages, {"role": "assistant", "content": action}]
            nodes = [
                vf.MessageNode(parent=index - 1 if index else None, message=message, sampled=index == len(written) - 1)
                for index, message in enumerate(written)
            ]
            traced = vf.TraceTask(type=type(self._task).__name__, data=self._task.data)
            trace = vf.Trace(task=traced, agent=vf.AgentInfo(config=vf.AgentConfig()), nodes=nodes, is_completed=True)
            asyncio.run(self._task.score(trace))
            lacking = [reward for reward, score in trace.rewards.items() if score is None]
            if lacking or not trace.rewards:
                raise ValueError(f"{name}: no score of the rewards {lacking}")
            scores = {reward: score.score for reward, score in trace.rewards.items()}
            return Step("", info={**self._info, **scores}, reward=float(trace.reward), terminated=True)

    return Adapter


def _messages(data: Any) -> list:
    """The prompt of a task as messages."""
    system = [] if data.system_prompt is None else [{"role": "system", "content": data.system_prompt}]
    if isinstance(data.prompt, str):
        return [*system, {"role": "user", "content": data.prompt}]
    return [*system, *(message.model_dump(exclude_none=True) for message in data.prompt)]


if __name__ == "__main__":
    from . import serve

    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python3 -m palestra.verifiers TASKSET ['{\"setting\": ...}']")
    serve(make(sys.argv[1], **(json.loads(sys.argv[2]) if len(sys.argv) == 3 else {})))
