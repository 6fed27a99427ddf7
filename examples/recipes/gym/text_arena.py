"""Two games of TextArena against a random opponent, in the fewest characters, for a model that is trained from nothing:
``python3 text_arena.py tic-tac-toe`` or ``nim``."""

import re
import sys

import palestra
import palestra.textarena


def board(seen):
    """The nine squares of tic-tac-toe, such as ``...OX....``."""
    squares = re.findall(r"[\dOX](?= )", "".join(seen.rpartition("Current Board:")[2].splitlines()[2:7:2]))
    return re.sub(r"\d", ".", "".join(squares))


def piles(seen):
    """The sizes of the three piles of Nim, such as ``345``."""
    return "".join(re.findall(r"pile \d: (\d)", seen.rpartition("Current Pile:")[2]))


def takes(seen):
    """The moves of Nim: a pile, and how much is taken of it."""
    return [f"[{pile} {taken}]" for pile, left in enumerate(piles(seen)) for taken in range(1, int(left) + 1)]


def tic_tac_toe():
    game = palestra.textarena.make("TicTacToe-v0", describe=board, max_turns=9)
    game.alphabet = ".OX[]012345678"
    return game


def nim():
    game = palestra.textarena.make("Nim-v0", describe=piles, moves=takes, max_turns=12)
    game.alphabet = "[] 012345"
    return game


if __name__ == "__main__":
    palestra.serve({"tic-tac-toe": tic_tac_toe, "nim": nim}[sys.argv[1]]())
