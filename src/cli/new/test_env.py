"""Tests of the environment: `python3 -m unittest`."""

import unittest

from env import Larger


class Tests(unittest.TestCase):
    def test_the_larger_number_is_right(self):
        env = Larger()
        first, second = env.reset(seed=7).content.split()
        right, wrong = ("first", "second") if int(first) > int(second) else ("second", "first")
        self.assertEqual(env.step(right).reward, 1.0)
        env.reset(seed=7)
        self.assertEqual(env.step(wrong).reward, 0.0)

    def test_an_action_that_is_no_answer_is_invalid(self):
        env = Larger()
        env.reset(seed=7)
        self.assertTrue(env.step("third").invalid_action)


if __name__ == "__main__":
    unittest.main()
