"""The protocol of ``docs/process-protocol.md``, version 1: lines of JSON on standard input and output."""

import inspect
import json
import os
import queue
import sys
import threading
import traceback
from typing import Any, Callable, Iterator, Optional, Type

from .env import Env, Observation, Step

#: Version of the protocol.
PROTOCOL = 1


class Connection:
    """Messages from and to ``palestra``. Standard output is its own: what else is printed goes to standard error."""

    def __init__(self) -> None:
        self._input = os.fdopen(os.dup(0), "rb")
        self._output = os.fdopen(os.dup(1), "wb")
        self._lock = threading.Lock()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        sys.stdout.flush()
        os.dup2(2, 1)

    def messages(self) -> Iterator[dict]:
        """Messages until the input ends, or until the message that closes the program."""
        for line in self._input:
            message = json.loads(line)
            if message["type"] == "close" and "session" not in message:
                return
            yield message

    def write(self, message: dict) -> None:
        line = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        with self._lock:
            self._output.write(line.encode("utf-8", "replace") + b"\n")
            self._output.flush()


def answer(request: dict, work: Callable[[dict], Optional[dict]]) -> Optional[dict]:
    """The answer to a request: the work's, or the message `error` if the work raises an exception."""
    session = {"session": request["session"]} if "session" in request else {}
    try:
        told = work(request)
        if told is None:
            return None
        told = {"type": request["type"], **session, **told}
        json.dumps(told, allow_nan=False)  # an answer that cannot be written is an error of its session alone
        return told
    except Exception as error:
        traceback.print_exc()
        return {"type": "error", **session, "message": f"{type(error).__name__}: {error}"}


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
            takes_options = "options" in inspect.signature(env.reset).parameters
            more = {"options": request.get("options", {})} if takes_options else {}
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
    connection = Connection()
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


def _tell(connection: Connection, told: Optional[dict]) -> None:
    if told is not None:
        connection.write(told)
