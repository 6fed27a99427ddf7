"""An environment: which of two numbers is larger? Change it, then run `palestra check env.toml` again."""

import random

import palestra


class Larger(palestra.Env):
    id = "larger-v1"
    max_turns = 1
    reward_range = (0, 1)
    optimal_return = 1.0
    alphabet = "0123456789 cdefinorst"  # of observations and actions, for a model that is trained from nothing

    def reset(self, seed):
        chance = random.Random(seed)
        first, second = chance.sample(range(10), 2)
        self.answer = "first" if first > second else "second"
        return palestra.Observation(f"{first} {second}", legal_actions=["first", "second"])

    def step(self, action):
        invalid = action not in ("first", "second")
        return palestra.Step("", reward=float(action == self.answer), terminated=True, invalid_action=invalid)


if __name__ == "__main__":
    palestra.serve(Larger)
