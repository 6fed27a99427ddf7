"""Speed of Palestra's Snake from Python, beside a Snake in Python: ``python3 benches/python_snake.py``.

Needs Gymnasium, the package `palestra` and its program (the environment variable `PALESTRA`). All play random legal
actions on a board of 6x6 squares and write the board as text. They take turns; each figure is the median of several
repeats. A reset counts as a step.
"""

import random
import resource
import statistics
import sys
import time
from pathlib import Path

import gymnasium
import numpy

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import palestra.envs  # noqa: E402

SIZE, LIMIT, STARVE = 6, 6**4, 72
MOVES = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
REPEATS, SECONDS = 5, 1.0


class Snake(gymnasium.Env):
    """Snake as one writes it in Python."""

    observation_space = gymnasium.spaces.Text(SIZE * (SIZE + 1))
    action_space = gymnasium.spaces.Discrete(len(MOVES))

    def reset(self, *, seed=None, options=None):
        self.chance = random.Random(seed)
        self.body = [(SIZE // 2, SIZE // 2 - back) for back in range(3)]
        self.turns, self.hungry = 0, 0
        self.place_food()
        return self.seen(), self.info()

    def place_food(self):
        free = [(row, column) for row in range(SIZE) for column in range(SIZE) if (row, column) not in self.body]
        self.food = self.chance.choice(free) if free else None

    def seen(self):
        board = [["."] * SIZE for _ in range(SIZE)]
        if self.food:
            board[self.food[0]][self.food[1]] = "f"
        for row, column in self.body[1:]:
            board[row][column] = "b"
        board[self.body[0][0]][self.body[0][1]] = "h"
        return "\n".join(map("".join, board))

    def info(self):
        neck = self.body[1]
        head = self.body[0]
        legal = [(head[0] + down, head[1] + right) != neck for down, right in MOVES.values()]
        return {"action_mask": numpy.array(legal, dtype=numpy.int8)}

    def step(self, action):
        down, right = list(MOVES.values())[action]
        head = (self.body[0][0] + down, self.body[0][1] + right)
        eats = head == self.food
        self.turns, self.hungry = self.turns + 1, 0 if eats else self.hungry + 1
        body = self.body if eats else self.body[:-1]
        if head in body or not (0 <= head[0] < SIZE and 0 <= head[1] < SIZE):
            return self.seen(), -1.0, True, False, self.info()
        self.body = [head, *body]
        if eats:
            self.place_food()
        return self.seen(), float(eats), self.food is None, self.turns >= LIMIT or self.hungry >= STARVE, self.info()


def legal(mask, chance):
    listed = numpy.flatnonzero(mask).tolist()
    return chance.choice(listed) if listed else 0  # an episode that has ended is reset by any action


def one(env):
    """Plays one environment for a while, and returns the number of steps."""
    chance, steps, seed = random.Random(0), 0, 0
    _, info = env.reset(seed=0)
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        _, _, terminated, truncated, info = env.step(legal(info["action_mask"], chance))
        if terminated or truncated:
            seed += 1
            steps += 1
            _, info = env.reset(seed=seed)
        steps += 1
    return steps


def many(envs):
    """Plays a vector for a while, and returns the number of steps."""
    chance, steps = random.Random(0), 0
    _, infos = envs.reset(seed=0)
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        infos = envs.step(numpy.array([legal(mask, chance) for mask in infos["action_mask"]]))[-1]
        steps += envs.num_envs
    return steps


def processor_seconds():
    """Processor time of this process and of those that it has ended."""
    return sum(sum(resource.getrusage(of)[:2]) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measured(make, play):
    """Steps per second, and microseconds of processor time per step, without those of the start."""
    before = processor_seconds()
    make().close()
    start = processor_seconds() - before
    before = processor_seconds()
    envs = make()
    began = time.perf_counter()
    steps = play(envs)
    rate = steps / (time.perf_counter() - began)
    envs.close()
    return rate, 1e6 * (processor_seconds() - before - start) / steps


def main():
    makes = {
        ("Palestra", 1): lambda: gymnasium.make("palestra/snake-6x6-v1").unwrapped,
        ("Python", 1): Snake,
    }
    for count in (8, 32):
        makes["Palestra", count] = lambda count=count: gymnasium.make_vec("palestra/snake-6x6-v1", num_envs=count)
        makes["Python", count] = lambda count=count: gymnasium.vector.SyncVectorEnv([Snake] * count)
    found = {key: [] for key in makes}
    for _ in range(REPEATS):
        for key, make in makes.items():
            found[key].append(measured(make, one if key[1] == 1 else many))
    print(f"{'':>12} {'steps per second':>24} {'':>8} {'processor time, us a step':>30}")
    print(f"{'environments':>12} {'Palestra':>12} {'Python':>12} {'ratio':>8} {'Palestra':>12} {'Python':>12} {'ratio':>8}")
    for count in (1, 8, 32):
        line = f"{count:>12}"
        for kind in (0, 1):
            ours, theirs = (statistics.median(one[kind] for one in found[name, count]) for name in ("Palestra", "Python"))
            line += f" {ours:>12.0f} {theirs:>12.0f} {ours / theirs:>8.2f}"
        print(line)


if __name__ == "__main__":
    main()
