"""The protocol of ``docs/process-protocol.md``, version 1: lines of JSON on standard input and output."""

import functools
import inspect
import json
import os
import queue
import sys
import threading
import time
import traceback
from typing import Any, Callable, Iterator, Optional, Type

from .env import Env, Observation, Step

#: Version of the protocol.
PROTOCOL = 1

#: Bytes that are read at once.
_CHUNK = 1 << 16

#: Seconds for which an answer may wait for others.
_PATIENCE = 0.002

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Connection:
    """Messages from and to ``palestra``. Standard output is its own: what else is printed goes to standard error.

    With ``together``, answers to messages that came together are written together, unless that takes long: a write and
    the wake of its reader cost more than a turn of a quick environment.
    """

    def __init__(self, together: bool = True) -> None:
        self._input, self._output = os.dup(0), os.dup(1)
        self._lock = threading.Lock()
        self._together = together
        self._lines: list[bytes] = []
        self._flushed = time.monotonic()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        sys.stdout.flush()
        os.dup2(2, 1)

    def messages(self) -> Iterator[dict]:
        """Messages until the input ends, or until the message that closes the program."""
        begun: list[bytes] = []
        while chunk := os.read(self._input, _CHUNK):
            begun.append(chunk)
            if b"\n" not in chunk:
                continue
            *lines, rest = b"".join(begun).split(b"\n")
            begun = [rest]
            self._flushed = time.monotonic()
            for line in lines:
                message = json.loads(line)
                if message["type"] == "close" and "session" not in message:
                    self.flush()
                    return
                yield message
            self.flush()

    def write(self, line: bytes) -> None:
        """Writes an answer, at once or with the next ones."""
        with self._lock:
            self._lines.append(line)
            is_due = not self._together or time.monotonic() - self._flushed > _PATIENCE
        if is_due:
            self.flush()

    def flush(self) -> None:
        """Writes the answers that wait for others."""
        with self._lock:
            waiting = memoryview(b"".join(self._lines))
            self._lines.clear()
            while waiting:
                waiting = waiting[os.write(self._output, waiting) :]
            self._flushed = time.monotonic()


def answer(request: dict, work: Callable[[dict], Optional[dict]]) -> Optional[bytes]:
    """The line of the answer to a request: the work's, or the message `error` if the work raises an exception, or if what
    it returns has no form in JSON."""
    session = {"session": request["session"]} if "session" in request else {}
    try:
        told = work(request)
        return None if told is None else _line({"type": request["type"], **session, **told})
    except Exception as error:
        traceback.print_exc()
        return _line({"type": "error", **session, "message": f"{type(error).__name__}: {error}"})


def _line(message: dict) -> bytes:
    return _ENCODER.encode(message).encode("utf-8", "replace") + b"\n"


class Sessions:
    """The episodes that a program plays, each in an environment of its own."""

    def __init__(self, make: Callable[[], Env]) -> None:
        self._make = make
        self._envs: dict[int, Env] = {}
        self._turns: dict[int, int] = {}

    def work(self, request: dict) -> Optional[dict]:
        session, kind = request["session"], request["type"]
        if kind == "close":
            env = self._envs.pop(session, None)
            if env is not None:
                env.close()
            return None
        if kind == "reset":
            if session not in self._envs:
                self._envs[session] = self._make()
            self._turns[session] = 0
            env = self._envs[session]
            more = {"options": request.get("options", {})} if _takes_options(type(env)) else {}
            first = env.reset(request["seed"], **more)
            return _observed(first if isinstance(first, Observation) else Observation(first))
        env = self._envs[session]
        if kind == "render":
            return {"text": str(env.render())}
        if kind != "step":
            raise ValueError(f"the message `{kind}` is not known")
        self._turns[session] += 1
        step = env.step(request["action"])
        if isinstance(step, tuple):
            content, reward, terminated, truncated, info = step
            step = Step(content, info=info, reward=reward, terminated=terminated, truncated=truncated)
        limit = env.max_turns
        is_last = limit is not None and self._turns[session] >= limit
        return {
            **_observed(step),
            "reward": float(step.reward),
            "terminated": bool(step.terminated),
            "truncated": bool(step.truncated or (is_last and not step.terminated)),
            "invalid_action": bool(step.invalid_action),
        }


@functools.cache
def _takes_options(env: Type[Env]) -> bool:
    return "options" in inspect.signature(env.reset).parameters


def _observed(observation: Observation) -> dict[str, Any]:
    told: dict[str, Any] = {"observation": observation.content, "info": observation.info}
    if observation.legal_actions is not None:
        told["legal_actions"] = list(observation.legal_actions)
    if observation.scripted_action is not None:
        told["scripted_action"] = observation.scripted_action
    return told


def serve(env: Type[Env], threads: int = 1) -> None:
    """Lets ``palestra`` play an environment, until it closes the program.

    Episodes take their turns one after the other. With more ``threads`` that many are played at once, which helps where
    an environment waits, and which it must bear: they share the modules' global state. Processes of their own, ``workers``
    in the run file, need no such care.
    """
    connection = Connection(together=threads == 1)
    sessions = Sessions(env)
    queues: list[queue.SimpleQueue] = [queue.SimpleQueue() for _ in range(threads)]

    def play(requests: queue.SimpleQueue) -> None:
        while (request := requests.get()) is not None:
            _tell(connection, answer(request, sessions.work))

    if threads > 1:
        for requests in queues:
            threading.Thread(target=play, args=(requests,), daemon=True).start()
    for request in connection.messages():
        if request["type"] == "hello":
            hello = {"protocol": PROTOCOL, "spec": env.spec(), "render": hasattr(env, "render")}
            _tell(connection, answer(request, lambda _: hello))
        elif threads > 1:
            queues[request["session"] % threads].put(request)
        else:
            _tell(connection, answer(request, sessions.work))


def _tell(connection: Connection, line: Optional[bytes]) -> None:
    if line is not None:
        connection.write(line)
