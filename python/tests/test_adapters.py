"""The adapters, each with the package that it adapts; a test whose package is not installed is skipped aloud."""

import importlib.util
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def needs(package):
    present = importlib.util.find_spec(package) is not None
    return unittest.skipUnless(present, f"{package} is not installed: pip install {package.replace('_', '-')}")


def play(env, seed, act):
    """The steps of an episode."""
    seen, steps = env.reset(seed), []
    while not steps or not (steps[-1].terminated or steps[-1].truncated):
        steps.append(env.step(act(seen)))
        seen = steps[-1]
    return steps


@needs("gymnasium")
class Gymnasium(unittest.TestCase):
    def test_discrete_and_box(self):
        import palestra.gymnasium

        Cart = palestra.gymnasium.make("CartPole-v1")
        self.assertEqual((Cart.id, Cart.max_turns, Cart.stochastic, Cart.reproducible), ("CartPole-v1", 500, True, True))
        first = Cart().reset(7)
        self.assertEqual(first.legal_actions, ["0", "1"])
        self.assertEqual(len(first.content.split()), 4)
        steps = play(Cart(), 7, lambda seen: "1")
        self.assertEqual([step.content for step in steps], [step.content for step in play(Cart(), 7, lambda seen: "1")])
        self.assertTrue(steps[-1].terminated and 5 < len(steps) < 20 and steps[0].reward == 1.0)

    def test_named_actions_and_invalid_ones(self):
        import palestra.gymnasium

        names = ["left", "down", "right", "up"]
        Lake = palestra.gymnasium.make("FrozenLake-v1", actions=names, is_slippery=False)
        self.assertEqual((Lake.stochastic, Lake.max_turns), (False, 100))
        env = Lake()
        self.assertEqual((env.reset(0).content, env.reset(0).legal_actions), ("0", names))
        invalid = env.step("fly")
        self.assertEqual((invalid.content, invalid.reward, invalid.invalid_action), ("0", 0.0, True))
        path = iter(["down", "down", "right", "right", "down", "right"])
        steps = play(env, 0, lambda seen: next(path))
        self.assertEqual((steps[-1].content, steps[-1].reward, steps[-1].terminated), ("15", 1.0, True))
        self.assertTrue(palestra.gymnasium.make("FrozenLake-v1").stochastic)

    def test_frozen_lake_has_the_exact_values_of_palestra_s(self):
        import gymnasium
        import numpy

        import palestra.gymnasium

        # The values of envs/src/frozen_lake/CARD.md, of 100 turns, from the table of outcomes of Gymnasium.
        table = gymnasium.make("FrozenLake-v1").unwrapped.P
        best = random = numpy.zeros(16)
        for _ in range(100):
            best, random = (
                numpy.array([
                    choose([sum(p * (r + (not over) * values[s]) for p, s, r, over in table[cell][a]) for a in range(4)])
                    for cell in range(16)
                ])
                for choose, values in ((max, best), (numpy.mean, random))
            )
        self.assertEqual((round(best[0], 4), round(random[0], 4)), (0.7442, 0.0139))

        # Each transition through the adapter is one of the table.
        env = palestra.gymnasium.make("FrozenLake-v1")()
        chance = numpy.random.default_rng(0)
        for seed in range(50):
            cell, over = int(env.reset(seed).content), False
            while not over:
                action = int(chance.integers(4))
                step = env.step(str(action))
                possible = {(s, float(r), bool(over)) for _, s, r, over in table[cell][action]}
                self.assertIn((int(step.content), step.reward, step.terminated), possible)
                cell, over = int(step.content), step.terminated or step.truncated

    def test_actions_in_a_box(self):
        import palestra.gymnasium

        env = palestra.gymnasium.make("Pendulum-v1", stochastic=True)()
        self.assertIsNone(env.reset(0).legal_actions)
        self.assertFalse(env.step("-1.5").invalid_action)
        for wrong in ("3", "left", "1 1", "nan", ""):
            self.assertTrue(env.step(wrong).invalid_action, wrong)

    def test_spaces_as_text_and_back(self):
        import numpy
        from gymnasium import spaces
        from palestra.gymnasium import _read, _write

        dictionary = spaces.Dict({"place": spaces.Discrete(4), "wind": spaces.Box(-1, 1, (2,), numpy.float32)})
        value = {"place": 3, "wind": numpy.array([0.25, -1], numpy.float32)}
        self.assertEqual(_write(dictionary, value), "place: 3\nwind: 0.25 -1")
        read = _read(dictionary, '{"place": 3, "wind": [0.25, -1]}', None)
        self.assertEqual((int(read["place"]), read["wind"].tolist()), (3, [0.25, -1.0]))
        with self.assertRaises(ValueError):
            _read(dictionary, '{"place": 9, "wind": [0.25, -1]}', None)
        self.assertEqual(_read(spaces.MultiDiscrete([3, 3]), "2, 1", None).tolist(), [2, 1])
        self.assertEqual(_write(spaces.Text(5), "agon"), "agon")
        self.assertEqual(_write(spaces.MultiBinary((2, 2)), numpy.eye(2, dtype=numpy.int8)), "1 0\n0 1")


@needs("reasoning_gym")
class ReasoningGym(unittest.TestCase):
    def test_a_task_is_scored_by_its_own_scorer(self):
        import palestra.reasoning_gym

        Sums = palestra.reasoning_gym.make("chain_sum", max_terms=2)
        self.assertEqual((Sums.id, Sums.max_turns), ("reasoning-gym-chain-sum-v1", 1))
        env = Sums()
        first = env.reset(2**64 - 1)
        self.assertEqual(first.content, Sums().reset(2**64 - 1).content)
        right, wrong = env.step(first.scripted_action), env.step("no number")
        self.assertEqual((right.reward, right.terminated), (1.0, True))
        self.assertLess(wrong.reward, 1.0)
        self.assertEqual(right.info["row"]["answer"], first.scripted_action)
        self.assertNotEqual(first.content, env.reset(8).content)


@needs("textarena")
class TextArena(unittest.TestCase):
    def test_a_game_of_two_against_a_random_opponent(self):
        import palestra.textarena

        Game = palestra.textarena.make("TicTacToe-v0")
        steps = play(Game(), 3, lambda seen: seen.scripted_action)
        self.assertTrue(steps[-1].terminated and steps[-1].reward in (-1.0, 0.0, 1.0), steps[-1])

    def test_moves_that_a_game_does_not_list_are_given(self):
        import re

        import palestra.textarena

        def moves(seen):
            piles = re.findall(r"pile (\d): (\d+)", seen.rpartition("Current Pile:")[2])
            return [f"[{pile} {taken}]" for pile, left in piles for taken in range(1, int(left) + 1)]

        Nim = palestra.textarena.make("Nim-v0", moves=moves, describe=lambda seen: "".join(re.findall(r": (\d)", seen)[-3:]))
        env = Nim()
        first = env.reset(3)
        self.assertEqual((first.content, len(first.legal_actions), first.legal_actions[0]), ("345", 12, "[0 1]"))
        self.assertIn(play(env, 3, lambda seen: seen.scripted_action)[-1].reward, (-1.0, 1.0))
        with self.assertRaisesRegex(ValueError, "Nim-v0: it lists no moves"):
            play(palestra.textarena.make("Nim-v0")(), 3, lambda seen: "[0 1]")

    def test_an_opponent_is_random_or_a_function(self):
        import palestra.textarena

        with self.assertRaisesRegex(ValueError, "neither"):
            palestra.textarena.make("TicTacToe-v0", opponent="perfect")


@needs("verifiers")
class Verifiers(unittest.TestCase):
    def test_rewards_of_a_task_are_the_reward(self):
        import verifiers.v1 as vf

        import palestra.verifiers

        class Data(vf.TaskData):
            answer: str

        class Sum(vf.Task[Data]):
            @vf.reward(weight=2.0)
            async def right(self, trace):
                return float(trace.last_reply == self.data.answer)

        class Sums(vf.Taskset[Sum]):
            def load(self):
                for a in range(3):
                    yield Sum(Data(prompt=f"1+{a}", answer=str(1 + a), system_prompt="Be brief." if a else None))

        Game = palestra.verifiers.adapt(Sums(vf.TasksetConfig(id="sums")), "sums")
        env = Game()
        first = env.reset(0)
        self.assertEqual((Game.id, first.content, first.info["row"]["answer"]), ("verifiers-sums-v1", "1+0", "1"))
        step = env.step("1")
        self.assertEqual((step.reward, step.info["right"], step.terminated), (2.0, 1.0, True))
        talk = env.reset(4).content
        self.assertEqual([message["role"] for message in talk], ["system", "user"])
        self.assertEqual(env.step("no").reward, 0.0)


if __name__ == "__main__":
    unittest.main()
