"""Steps per second of one of Gymnasium's vectors: ``python3 vector_envs.py sync|async NUMBER SECONDS``.

`cargo bench -p palestra-envs --bench process` runs it beside the process protocol.
"""

import sys
import time

import gymnasium

NAME = "CartPole-v1"


def steps_per_second(mode: str, number: int, seconds: float) -> float:
    envs = gymnasium.make_vec(NAME, num_envs=number, vectorization_mode=mode)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(256)]
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        envs.step(actions[steps % len(actions)])
        steps += 1
    rate = steps * number / (time.perf_counter() - began)
    envs.close()
    return rate


if __name__ == "__main__":
    print(steps_per_second(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
