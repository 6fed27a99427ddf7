"""Training from Python; what needs the program `palestra` is skipped aloud without it."""

import doctest
import os
import shutil
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import palestra  # noqa: E402
import palestra.env  # noqa: E402
import palestra.policy  # noqa: E402
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
        for module in (palestra.env, palestra.policy, palestra.run):
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


@unittest.skipUnless(HAS_PROGRAM, "there is no program: name it in the environment variable PALESTRA")
class Acting(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        every = {"train.updates": 4, "train.checkpoint_every": 2}
        cls.run_ = palestra.train(LAKE, every, out=Path(cls.folder.name) / "lake")
        cls.turns = next(cls.run_.episodes())["turns"]
        cls.state = palestra.Observation(cls.turns[0]["observation"], cls.turns[0]["legal_actions"])

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_a_run_acts(self):
        with self.run_.policy as policy:
            self.assertEqual(policy.context, "observation")
            self.assertIn(policy.act(self.state), self.state.legal_actions)
            self.assertEqual(policy.act(self.state.content, ["u"]), "u")
            likeliest = policy.act(self.state, temperature=0)
            self.assertEqual(policy.act(self.state, temperature=0, turns=self.turns[:1]), likeliest)
        self.assertEqual(self.run_.policy.act(self.state, temperature=0), likeliest)  # a new process
        self.run_.policy.close()

    def test_a_batch_has_the_seeds_of_single_actions(self):
        with palestra.Policy(self.run_.path) as policy:
            together = policy.act_batch([self.state] * 12, seed=5, temperature=3)
            self.assertEqual([policy.act(self.state, seed=5 + n, temperature=3) for n in range(12)], together)
            self.assertGreater(len(set(together)), 1)
            counted = [policy.act(self.state, temperature=3) for _ in range(3)]
            self.assertEqual(policy.act_batch([self.state] * 3, seed=0, temperature=3), counted)
            self.assertEqual(policy.act_batch([]), [])
            texts = [self.state.content] * 2
            self.assertEqual(policy.act_batch(texts, [["u"], ["d"]]), ["u", "d"])
            with self.assertRaisesRegex(ValueError, "legal_actions: 1 entries for 2 observations"):
                policy.act_batch(texts, [["u"]])

    def test_a_checkpoint_acts_by_its_name(self):
        names = self.run_.checkpoints()
        self.assertEqual(names, ["step-00000002", "step-00000004"])
        with self.run_.load_policy(names[0], overrides={"evaluation.greedy": True}) as policy:
            self.assertEqual(policy.act(self.state), policy.act(self.state, temperature=0))

    def test_a_mistake_is_told_and_the_next_action_comes(self):
        with palestra.Policy(self.run_.path) as policy:
            with self.assertRaisesRegex(RuntimeError, "states.0: tokenizer"):
                policy.act("\U0001f600")
            with self.assertRaisesRegex(RuntimeError, "temperature: -1"):
                policy.act(self.state, temperature=-1)
            self.assertEqual(policy.act(self.state.content, ["u"]), "u")
        with self.assertRaisesRegex(RuntimeError, "ended with status 1"):
            palestra.Policy(Path(self.folder.name)).act("a")

    def test_what_gives_no_answer_in_time_is_ended(self):
        stuck = Path(self.folder.name) / "stuck"
        hello = '{"type":"hello","protocol":1,"policy":{"context":"observation"}}'
        stuck.write_text(f"#!/bin/sh\nread line; echo '{hello}'; exec sleep 60\n")
        stuck.chmod(0o755)
        with unittest.mock.patch.dict(os.environ, {"PALESTRA": str(stuck)}):
            policy = palestra.Policy("any", timeout=0.3)
            for _ in range(2):  # the second action starts a new process
                with self.assertRaisesRegex(TimeoutError, "no answer within 0.3 seconds"):
                    policy.act("a")
            policy.close()


if __name__ == "__main__":
    unittest.main()
