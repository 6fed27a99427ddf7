"""reasoning-gym's task ``chain_sum`` with two terms of one digit, such as ``3-5``, for a model that is trained from
nothing. The answers are -9 to 18."""

import palestra
import palestra.reasoning_gym


def describe(question):
    return question.rpartition(":")[2].replace("=", "").replace(" ", "")


Sums = palestra.reasoning_gym.make(
    "chain_sum",
    describe=describe,
    answers=[str(number) for number in range(-9, 19)],
    **{"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
)
Sums.alphabet = "0123456789+-."

if __name__ == "__main__":
    palestra.serve(Sums)
