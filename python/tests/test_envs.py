"""Palestra's environments in Gymnasium; skipped aloud without Gymnasium or the program `palestra`."""

import importlib.util
import os
import shutil
import sys
import unittest
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

HAS_GYMNASIUM = importlib.util.find_spec("gymnasium") is not None
HAS_PROGRAM = bool(os.environ.get("PALESTRA") or shutil.which("palestra"))


@unittest.skipUnless(HAS_GYMNASIUM, "gymnasium is not installed: pip install gymnasium")
@unittest.skipUnless(HAS_PROGRAM, "there is no program: name it in the environment variable PALESTRA")
class Envs(unittest.TestCase):
    def test_gymnasium_s_own_checker_passes(self):
        import gymnasium
        from gymnasium.utils.env_checker import check_env

        import palestra.envs  # noqa: F401

        names = [name for name in gymnasium.registry if name.startswith("palestra/")]
        self.assertIn("palestra/snake-6x6-v1", names)
        self.assertIn("palestra/Snake-6x6-v1", names)
        self.assertIn("palestra/TicTacToe-v1", names)
        for name in ("palestra/snake-6x6-v1", "palestra/frozen-lake-4x4-v1"):
            env = gymnasium.make(name, render_mode="ansi", disable_env_checker=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check_env(env.unwrapped, skip_render_check=True)
            self.assertIsInstance(env.render(), str)
            env.close()

    def test_an_episode_is_that_of_its_seed(self):
        import gymnasium

        import palestra.envs  # noqa: F401

        env = gymnasium.make("palestra/cliff-walking-v1").unwrapped
        env.reset(seed=7)
        path = ["up"] + ["right"] * 11 + ["down"]
        steps = [env.step(env.actions.index(action)) for action in path]
        self.assertEqual((sum(step[1] for step in steps), steps[-1][2]), (-13.0, True))
        env.close()

    def test_a_vector_of_episodes_is_the_episodes(self):
        import gymnasium
        import numpy

        import palestra.envs  # noqa: F401

        envs = gymnasium.make_vec("palestra/frozen-lake-4x4-v1", num_envs=3)
        single = gymnasium.make("palestra/frozen-lake-4x4-v1")
        together, _ = envs.reset(seed=5)
        self.assertTrue(together in envs.observation_space)
        seen = [[observation] for observation in together]
        ended = numpy.zeros(3, dtype=bool)
        for turn in range(6):
            observations, rewards, terminated, truncated, infos = envs.step([turn % 4] * 3)
            self.assertEqual(infos["action_mask"].shape, (3, 4))
            for index in numpy.flatnonzero(~ended):
                seen[index].append((observations[index], rewards[index], bool(terminated[index])))
            ended |= terminated | truncated
        for index in range(3):
            played = [single.reset(seed=5 + index)[0]]
            for turn in range(len(seen[index]) - 1):
                observation, reward, terminated, *_ = single.step(turn % 4)
                played.append((observation, reward, terminated))
            self.assertEqual(played, seen[index])
        envs.close()
        single.close()


if __name__ == "__main__":
    unittest.main()
