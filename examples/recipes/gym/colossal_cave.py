"""Colossal Cave Adventure, the text adventure of 1977, in the version that Debian packages as ``open-adventure``.

The program ``advent`` is looked for in the environment variable ``ADVENT`` and in ``/usr/games``. An episode is a game of
at most 100 turns; its reward, on the last turn, is the score of the game, of 430.
"""

import os
import re
import subprocess
import termios

import palestra

PROGRAM = os.environ.get("ADVENT", "/usr/games/advent")
#: End of all that the game prints before it waits for a line.
PROMPT = b"\n> "
SCORE = re.compile(r"You scored (\d+) out of")
ACTIONS = """north south east west northeast northwest southeast southwest up down in out look inventory
take lamp|take keys|take food|take bottle|take cage|take rod|take bird|on|off|unlock grate|drop rod|drop bird|wave rod|plugh|xyzzy|yes|no"""


class ColossalCave(palestra.Env):
    id, max_turns, reward_range = "colossal-cave-v1", 100, (0, 430)
    actions = [*ACTIONS.splitlines()[0].split(), *ACTIONS.splitlines()[1].split("|")]

    def __init__(self):
        self.game = None

    def reset(self, seed):
        self.close()
        # To a pipe the game would write nothing before it ends, so that it gets a terminal, which must not repeat lines.
        self.terminal, its_own = os.openpty()
        mode = termios.tcgetattr(its_own)
        mode[3] &= ~termios.ECHO
        termios.tcsetattr(its_own, termios.TCSANOW, mode)
        plain = {**os.environ, "TERM": "dumb"}
        self.game = subprocess.Popen([PROGRAM], stdin=its_own, stdout=its_own, env=plain)
        os.close(its_own)
        self.turns = 0
        self.read()
        self.write("no")
        self.write(f"seed {seed % 2**31}")
        return palestra.Observation(self.write("look"), legal_actions=self.actions)

    def step(self, action):
        self.turns += 1
        seen = self.write(" ".join(action.split())[:70])
        is_last = self.turns == self.max_turns
        score = SCORE.search(seen)
        if is_last and score is None:
            # A question may be open, which "no" answers.
            score = SCORE.search("".join(map(self.write, ("no", "quit", "yes"))))
        reward = float(score[1]) if score else 0.0
        invalid = action not in self.actions
        end = {"terminated": score is not None and not is_last, "truncated": is_last}
        return palestra.Step(seen, legal_actions=self.actions, reward=reward, invalid_action=invalid, **end)

    def write(self, line):
        """Types a line, and returns what the game prints."""
        os.write(self.terminal, line.encode() + b"\n")
        return self.read()

    def read(self):
        """What the game prints before it waits for a line, or before it ends."""
        read = b""
        while not read.endswith(PROMPT):
            try:
                read += os.read(self.terminal, 4096).replace(b"\r", b"")
            except OSError:  # the game has ended
                break
        return read.decode().removesuffix("> ").strip()

    def close(self):
        if self.game is not None:
            self.game.kill()
            self.game.wait()
            os.close(self.terminal)
            self.game = None


if __name__ == "__main__":
    palestra.serve(ColossalCave)
