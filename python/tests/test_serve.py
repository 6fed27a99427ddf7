"""The protocol, an environment and rewards, each as a process that is spoken to as `palestra` speaks to it."""

import json
import os
import subprocess
import sys
import textwrap
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

COIN = """
import palestra

class Coin(palestra.Env):
    id = "coin-v1"
    max_turns = 2
    reward_range = (0, 1)

    def reset(self, seed):
        print("a print is no message")
        self.side = ["heads", "tails"][seed % 2]
        return palestra.Observation("Heads or tails?", legal_actions=["heads", "tails"], info={"seed": seed})

    def step(self, action):
        if action == "crash":
            return 1 / 0
        if action == "nan":
            return palestra.Step("", reward=float("nan"))
        if action == "tuple":
            return "again", 0.5, False, False, {}
        known = action in ("heads", "tails")
        return palestra.Step([{"role": "user", "content": "Yes"}], reward=float(action == self.side),
                             terminated=known, invalid_action=not known)

    def render(self):
        return "a coin"

palestra.serve(Coin)
"""


def talk(program, *messages):
    """The answers of a program to messages; its input is closed after them."""
    lines = "".join(json.dumps(message) + "\n" for message in messages)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def step(session, action):
    return {"type": "step", "session": session, "action": action}


def reset(session, seed):
    return {"type": "reset", "session": session, "seed": seed, "options": {}}


class Serve(unittest.TestCase):
    def test_an_environment_answers_in_its_sessions(self):
        told, log = talk(
            COIN,
            {"type": "hello", "protocol": 1, "role": "env", "worker": 0},
            reset(0, 2**64 - 1),
            reset(1, 0),
            step(1, "heads"),
            step(0, "heads"),
            {"type": "render", "session": 0},
            {"type": "close", "session": 0},
            {"type": "close"},
        )
        hello, first, _, right, wrong, picture = told
        self.assertEqual((hello["protocol"], hello["spec"]["id"], hello["render"]), (1, "coin-v1", True))
        self.assertEqual(
            first,
            {"type": "reset", "session": 0, "observation": "Heads or tails?", "info": {"seed": 2**64 - 1},
             "legal_actions": ["heads", "tails"]},
        )
        self.assertEqual((right["session"], right["reward"], right["terminated"]), (1, 1.0, True))
        self.assertEqual((wrong["session"], wrong["reward"]), (0, 0.0))
        self.assertEqual(wrong["observation"], [{"role": "user", "content": "Yes"}])
        self.assertEqual(picture, {"type": "render", "session": 0, "text": "a coin"})
        self.assertIn("a print is no message", log)

    def test_an_exception_costs_one_episode(self):
        told, log = talk(COIN, reset(0, 0), step(0, "crash"), reset(0, 0), step(0, "nan"), reset(0, 0), step(0, "heads"))
        self.assertEqual(told[1], {"type": "error", "session": 0, "message": "ZeroDivisionError: division by zero"})
        self.assertEqual(told[3]["type"], "error")
        self.assertEqual(told[5]["reward"], 1.0)
        self.assertIn("Traceback", log)

    def test_steps_of_gymnasium_and_the_limit_of_turns(self):
        told, _ = talk(COIN, reset(0, 0), step(0, "tuple"), step(0, "nothing"))
        self.assertEqual((told[1]["observation"], told[1]["reward"], told[1]["truncated"]), ("again", 0.5, False))
        self.assertEqual((told[2]["invalid_action"], told[2]["truncated"]), (True, True))

    def test_episodes_of_several_threads_wait_at_once(self):
        program = COIN.replace("palestra.serve(Coin)", """
import time
Coin.step = lambda self, action: (time.sleep(0.5), "slept", 0.0, True, False, {})[1:]
began = time.monotonic()
palestra.serve(Coin, threads=8)
""")
        messages = [reset(session, 0) for session in range(8)] + [step(session, "") for session in range(8)]
        import time

        # The program ends with its input; the answers are read before it is closed.
        process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        lines = "".join(json.dumps(message) + "\n" for message in messages)
        process.stdin.write(lines)
        process.stdin.flush()
        for _ in range(8):
            process.stdout.readline()
        began = time.monotonic()
        for _ in range(8):
            process.stdout.readline()
        taken = time.monotonic() - began
        process.stdin.close()
        self.assertEqual(process.wait(timeout=30), 0)
        process.stdout.close()
        self.assertLess(taken, 3.0, "one after the other they take 4 seconds")


def episode(prompt, answer, **row):
    return {"id": "0", "turns": [{"observation": prompt, "action": answer, "info": {"row": row}}]}


def score(function, *episodes):
    program = f"import palestra\n{function}\npalestra.serve_reward(score)"
    hello = {"type": "hello", "protocol": 1, "role": "reward", "worker": 0}
    (greeting, told), _ = talk(program, hello, {"type": "score", "session": 4, "episodes": list(episodes)})
    assert greeting == {"type": "hello", "protocol": 1}, greeting
    return told


class Guide(unittest.TestCase):
    """The listings of docs/process-protocol.md are as long as it says, and run."""

    def listing(self, word, lines):
        text = (ROOT.parent / "docs" / "process-protocol.md").read_text()
        found = [block.partition("```")[0] for block in text.split("```python\n")[1:]]
        (listing,) = [block for block in found if word in block]
        self.assertLessEqual(len([line for line in listing.splitlines() if line.strip()]), lines)
        return listing

    def test_the_environment(self):
        told, _ = talk(self.listing("class Guess", 15), reset(0, 7), step(0, "x"), step(0, "9"), step(0, "1"))
        self.assertEqual((told[0]["observation"], len(told[0]["legal_actions"])), ("Guess a number.", 9))
        self.assertTrue(told[1]["invalid_action"] and not told[2]["invalid_action"])
        hints = {"It is larger.", "It is not larger."}
        self.assertTrue(told[2]["observation"] in hints and told[3]["observation"] in hints)

    def test_the_reward(self):
        listing = self.listing("def score", 10)
        program = listing.replace("palestra.serve_reward(score)", "").replace("import palestra", "")
        told = score(program, episode("1+1", "it is 2", solution="2"), episode("1+1", "it is 3", solution="2"))
        self.assertEqual(told["scores"], [1.0, 0.0])
        self.assertEqual(score(program, episode("1+1", "it is 2", solution=None))["scores"], [None])


class Rewards(unittest.TestCase):
    def test_a_function_gets_what_it_names(self):
        function = "def score(answer, solution, prompt, row):\n    return None if answer == '' else float(solution in answer)"
        told = score(function, episode("1+1", "it is 2", solution="2"), episode("1+1", "", solution="2"))
        self.assertEqual(told, {"type": "score", "session": 4, "scores": [1.0, None]})

    def test_a_function_as_trl_has_them(self):
        function = "def score(completions, solution, **kwargs):\n    return [float(a == s) for a, s in zip(completions, solution)]"
        told = score(function, episode("1+1", "2", solution="2"), episode("1+1", "3", solution="2"))
        self.assertEqual(told["scores"], [1.0, 0.0])
        talks = "def score(prompts, completions):\n    return [len(c[0]['content']) for c in completions]"
        self.assertEqual(score(talks, episode([{"role": "user", "content": "Hi"}], "four"))["scores"], [4.0])

    def test_a_column_that_is_missing_is_told(self):
        told = score("def score(answer, solution):\n    return 1", episode("1+1", "2", reference="2"))
        self.assertEqual(told["message"], "ValueError: the row has no column `solution`; it has ['reference']")


if __name__ == "__main__":
    unittest.main()
