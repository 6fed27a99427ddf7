"""Gymnasium's CartPole-v1 in text: a letter for each of its four numbers.

Small values get finer steps than large ones, because the pole is balanced near 0.
"""

import palestra
import palestra.gymnasium

LETTERS = "abcdefghijklmnopqrstu"
#: Largest value that is told apart, of position, velocity, angle and angular velocity.
LIMITS = (2.4, 2.5, 0.21, 3.0)


def describe(observation):
    middle = len(LETTERS) // 2
    scaled = [max(-1.0, min(1.0, float(value) / limit)) for value, limit in zip(observation, LIMITS)]
    return "".join(LETTERS[middle + round(middle * abs(one) ** 0.5 * (1 if one > 0 else -1))] for one in scaled)


CartPole = palestra.gymnasium.make("CartPole-v1", describe=describe, actions=["<", ">"])
CartPole.alphabet = LETTERS + "<>"

if __name__ == "__main__":
    palestra.serve(CartPole)
