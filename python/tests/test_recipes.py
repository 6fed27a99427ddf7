"""The recipes in examples/recipes/gym train, a few updates each; skipped aloud without their packages or the program."""

import importlib.util
import os
import shutil
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

PYTHON = Path(__file__).resolve().parent.parent
RECIPES = PYTHON.parent / "examples" / "recipes" / "gym"
sys.path.insert(0, str(PYTHON))

import palestra  # noqa: E402

HAS_PROGRAM = bool(os.environ.get("PALESTRA") or shutil.which("palestra"))

#: The package that each recipe needs, by the beginning of its name.
PACKAGES = {"cart-pole": "gymnasium", "count-bits": "reasoning_gym", "text-arena": "textarena"}

#: What makes a recipe small.
SMALL = {
    "train.updates": 2,
    "train.checkpoint_every": 1,
    "rollout.episodes": 4,
    "rollout.environments": 4,
    "evaluation.episodes": 2,
}


def train(recipe):
    """Trains a recipe with the Python that runs the tests."""
    def before(name, first):
        return os.pathsep.join(filter(None, [str(first), os.environ.get(name)]))

    folders = {"PATH": before("PATH", Path(sys.executable).parent), "PYTHONPATH": before("PYTHONPATH", PYTHON)}
    with tempfile.TemporaryDirectory() as folder:
        with unittest.mock.patch.dict(os.environ, folders):
            run = palestra.train(recipe, SMALL, out=Path(folder) / "run")
        return run.summary["updates"], list(run.metrics()["step"]), len(run.checkpoints())


@unittest.skipUnless(HAS_PROGRAM, "there is no program: name it in the environment variable PALESTRA")
class Recipes(unittest.TestCase):
    def test_every_recipe_trains(self):
        recipes = [path for path in sorted(RECIPES.glob("*.toml")) if "[train]" in path.read_text(encoding="utf-8")]
        self.assertGreaterEqual(len(recipes), 4)
        for recipe in recipes:
            with self.subTest(recipe.stem):
                package = next(package for start, package in PACKAGES.items() if recipe.stem.startswith(start))
                if importlib.util.find_spec(package) is None:
                    self.skipTest(f"{package} is not installed: pip install {package.replace('_', '-')}")
                self.assertEqual(train(recipe), (2, [1, 2], 2))


if __name__ == "__main__":
    unittest.main()
