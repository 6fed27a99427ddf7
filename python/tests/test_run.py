"""Training from Python; what needs the program `palestra` is skipped aloud without it."""

import doctest
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import palestra  # noqa: E402
import palestra.env  # noqa: E402
import palestra.run  # noqa: E402

HAS_PROGRAM = bool(os.environ.get("PALESTRA") or shutil.which("palestra"))

LAKE = {
    "name": "lake",
    "device": "flex",
    "env": {"id": "frozen-lake-4x4", "options": {"view": "compact"}},
    "model": {"family": "gpt2", "context": 8, "layers": 1, "width": 16, "heads": 2},
    "rollout": {"episodes": 8, "environments": 8},
    "ppo": {"batch": 64},
    "train": {"updates": 3},
    "evaluation": {"episodes": 4},
}


class Toml(unittest.TestCase):
    def test_examples_of_the_documentation(self):
        for module in (palestra.env, palestra.run):
            self.assertEqual(doctest.testmod(module).failed, 0)

    def test_a_dict_is_toml(self):
        table = {"a b": 'quote " \\ \n é', "list": [1, 2.5, True], "inner": {"x": None, "y": 1e-05}, "gone": None}
        text = palestra.run.to_toml(table)
        if sys.version_info >= (3, 11):
            import tomllib

            expected = {"a b": 'quote " \\ \n é', "list": [1, 2.5, True], "inner": {"y": 1e-05}}
            self.assertEqual(tomllib.loads(text), expected)
        with self.assertRaisesRegex(TypeError, "has no form in TOML"):
            palestra.run.to_toml({"env": object()})


@unittest.skipUnless(HAS_PROGRAM, "there is no program: name it in the environment variable PALESTRA")
class Training(unittest.TestCase):
    def test_a_dict_is_trained(self):
        with tempfile.TemporaryDirectory() as folder:
            run = palestra.train(LAKE, {"train.updates": 2}, out=Path(folder) / "lake")
            self.assertEqual((run.path, run.summary["updates"]), (Path(folder) / "lake", 2))
            self.assertEqual(list(run.metrics()["step"]), [1, 2])
            self.assertTrue(next(run.episodes())["turns"][0]["observation"])
            self.assertEqual(palestra.Run(run.path).evaluate(episodes=5)["episodes"], 5)

    def test_a_mistake_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaisesRegex(palestra.TrainingError, "updatez"):
                palestra.train(LAKE, {"train.updatez": 2}, out=Path(folder) / "lake")
            with self.assertRaisesRegex(FileNotFoundError, "no run directory"):
                palestra.Run(folder)


if __name__ == "__main__":
    unittest.main()
