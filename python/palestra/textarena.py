"""Games of TextArena for one or two players.

From the command line: ``python3 -m palestra.textarena TicTacToe-v0``.
"""

import random
import re
import sys
from typing import Any, Callable, Optional, Type, Union

from .env import Env, Observation, Step, quiet

#: Moves as TextArena writes them: in square brackets.
_MOVE = re.compile(r"\[[^\[\]\n]+\]")

#: A policy of an opponent: what it sees, and the random numbers of the episode, to what it writes.
Policy = Callable[[str, random.Random], str]


def listed_moves(seen: str) -> list:
    """The moves in square brackets that the observation's last list of moves names; none if it has no such list."""
    listed = [line for line in seen.splitlines() if re.search(r"(available|valid|legal).*moves", line, re.I)]
    return _MOVE.findall(listed[-1]) if listed else []


@quiet
def make(
    name: str,
    *,
    players: Optional[int] = None,
    opponent: Union[str, Policy] = "random",
    seat: int = 0,
    moves: Callable[[str], list] = listed_moves,
    describe: Optional[Callable[[str], str]] = None,
    max_turns: Optional[int] = None,
    **arguments: Any,
) -> Type[Env]:
    """Returns the environment class of a game.

    The agent has a ``seat``; each other one is played by ``opponent``: ``"random"``, or a function of the observation and
    a ``random.Random`` that the seed fixes. ``players`` is the number of seats; absent, one where the game allows it,
    and else two. The reward comes at the end: the game's own for the agent's seat.

    ``moves`` gives the legal moves of what a player sees, by default those that the game lists. The agent gets them as
    legal actions, and the random opponent chooses among them; a game of two that lists none needs ``moves``, or an
    ``opponent`` that knows its moves. ``describe`` writes what the agent sees in another way, as for a small model.
    """
    import textarena

    limit = max_turns

    def random_move(seen: str, chance: random.Random) -> str:
        legal = moves(seen)
        if not legal:
            raise ValueError(f"{name}: it lists no moves; give `moves`, a function from what a player sees to the legal moves")
        return chance.choice(legal)

    play: Policy = random_move if opponent == "random" else opponent  # type: ignore[assignment]
    if not callable(play):
        raise ValueError(f'opponent: {opponent!r} is neither "random" nor a function')
    write = describe or str
    count = players if players is not None else _players(textarena.make(name, **arguments))

    class Adapter(Env):
        id = f"{name}-v0" if "-v" not in name else name
        max_turns = limit
        reward_range = (-1.0, 1.0)

        def reset(self, seed: int) -> Observation:
            # Games draw from Python's global generator too.
            random.seed(seed)
            self._chance, self._own = random.Random(seed), random.Random(~seed)
            self._env = textarena.make(name, **arguments)
            self._env.reset(num_players=count, seed=seed % 2**32)
            self._over = False
            return self._observed(self._others())

        def step(self, action: str) -> Step:
            self._over, _ = self._env.step(action=action)
            seen = "" if self._over else self._others()
            if not self._over:
                return Step(**vars(self._observed(seen)))
            rewards, infos = self._env.close()
            info = infos.get(seat, {}) if isinstance(infos, dict) else {}
            invalid = bool(info.get("invalid_move", False))
            reward = float((rewards or {}).get(seat, 0.0))
            reason = str(info.get("reason", ""))
            seen = reason if describe is None else ""
            return Step(seen, info={"reason": reason}, reward=reward, terminated=True, invalid_action=invalid)

        def _observed(self, seen: str) -> Observation:
            legal = moves(seen)
            # A random move: a baseline, and a move that the game understands.
            scripted = self._own.choice(legal) if legal else None
            return Observation(write(seen), legal_actions=legal or None, scripted_action=scripted)

        def _others(self) -> str:
            """Plays the other seats until it is the agent's turn, and returns what the agent sees."""
            while not self._over:
                player, seen = self._env.get_observation()
                if player == seat:
                    return seen if isinstance(seen, str) else str(seen)
                self._over, _ = self._env.step(action=play(seen, self._chance))
            return ""

    return Adapter


def _players(env: Any) -> int:
    """The least number of players that a game takes, from its reset."""
    for count in (1, 2):
        try:
            env.reset(num_players=count, seed=0)
            return count
        except Exception:  # each game refuses a wrong number in its own way
            continue
    raise ValueError("it is a game for neither one nor two players; say how many with `players`")


if __name__ == "__main__":
    from . import serve

    if len(sys.argv) != 2:
        sys.exit("usage: python3 -m palestra.textarena GAME")
    serve(make(sys.argv[1]))
