"""Tasks of reasoning-gym: the question of a seed is the observation, and the task's own scorer gives the reward.

From the command line: ``python3 -m palestra.reasoning_gym chain_sum '{"max_terms": 3}'``.
"""

import json
import sys
from typing import Any, Callable, Optional, Type

from .env import Env, Observation, Step, quiet

#: Seeds of a data set are those of Python's and NumPy's generators, which take 32 bits.
_SEEDS = 2**32


@quiet
def make(
    name: str,
    *,
    describe: Optional[Callable[[str], str]] = None,
    answers: Optional[list] = None,
    **config: Any,
) -> Type[Env]:
    """Returns the environment class of a task by its name, with the settings of its data set.

    Each seed is a data set of one question. An episode is one answer; the reward is the scorer's, from 0 to 1. The
    reference answer is in the info as ``row.answer``, for rewards. ``describe`` writes a question in another way, as for a
    small model; ``answers`` are the legal actions, where the answers can be listed.
    """
    import reasoning_gym

    def entry_of(seed: int) -> tuple:
        dataset = reasoning_gym.create_dataset(name, size=1, seed=seed % _SEEDS, **config)
        return dataset, dataset[0]

    entry_of(0)  # a name or a setting that is wrong is told at once

    class Adapter(Env):
        id = f"reasoning-gym-{name.replace('_', '-')}-v1"
        max_turns = 1
        reward_range = (0.0, 1.0)

        def reset(self, seed: int) -> Observation:
            self._dataset, self._entry = entry_of(seed)
            answer = self._entry["answer"]
            self._row = {"row": {"question": self._entry["question"], "answer": answer}}
            question = self._entry["question"]
            seen = question if describe is None else describe(question)
            return Observation(seen, legal_actions=answers, info=self._row, scripted_action=answer)

        def step(self, action: str) -> Step:
            score = float(self._dataset.score_answer(answer=action, entry=self._entry))
            return Step("", info=self._row, reward=score, terminated=True)

    return Adapter


if __name__ == "__main__":
    from . import serve

    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python3 -m palestra.reasoning_gym TASK ['{\"setting\": ...}']")
    serve(make(sys.argv[1], **(json.loads(sys.argv[2]) if len(sys.argv) == 3 else {})))
