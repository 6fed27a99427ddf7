"""reasoning-gym's task ``count_bits`` for numbers below 64, such as ``13``, for a model that is trained from nothing. The
answers are 1 to 6."""

import palestra
import palestra.reasoning_gym


def describe(question):
    return question.rpartition("number ")[2].rstrip("?")


CountBits = palestra.reasoning_gym.make("count_bits", describe=describe, answers=list("123456"), min_n=1, max_n=63)
CountBits.alphabet = "0123456789"

if __name__ == "__main__":
    palestra.serve(CountBits)
