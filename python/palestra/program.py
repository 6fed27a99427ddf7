"""The program ``palestra``, which this package calls, and a process of it that speaks the protocol."""

import json
import os
import select
import shutil
import subprocess
import sys
import time

from .serve import PROTOCOL

#: Bytes that are read at once.
_CHUNK = 1 << 20


def program() -> str:
    """Path of the program: that of the environment variable ``PALESTRA``, or the one beside the running Python, or the one
    on the path."""
    beside = os.path.join(os.path.dirname(sys.executable), "palestra")
    found = os.environ.get("PALESTRA") or (beside if os.path.exists(beside) else shutil.which("palestra"))
    if found is None:
        raise FileNotFoundError("the program `palestra` is not on the path; name it in the environment variable PALESTRA")
    return found


class Process:
    """A process of ``palestra serve``. Every wait has a deadline: ``start_timeout`` seconds for the hello, ``timeout`` for
    answers. Used in a ``with`` block, it ends with the block; it also ends with the Python that started it."""

    def __init__(self, arguments: list, role: str, *, timeout: float = 60.0, start_timeout: float = 120.0) -> None:
        self._name = " ".join(["palestra", "serve", *arguments])
        self._process = subprocess.Popen([program(), "serve", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        # Neither side waits until the other has read all that it wrote.
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)
        self._read = b""
        self.timeout = timeout
        try:
            hello = {"type": "hello", "protocol": PROTOCOL, "role": role, "worker": 0}
            self.hello = self._exchange([hello], start_timeout)[0]
            if self.hello.get("protocol") != PROTOCOL:
                spoken = self.hello.get("protocol")
                raise RuntimeError(f"`{self._name}` speaks version {spoken} of the protocol; {PROTOCOL} would be right")
        except BaseException:
            self._kill()
            raise

    @property
    def is_open(self) -> bool:
        """True until it is closed, ends, or gives no answer in time."""
        return self._process.poll() is None and self._process.stdin is not None and not self._process.stdin.closed

    def ask(self, requests: list) -> list:
        """The answers to requests, in their order. An answer `error` is a RuntimeError with its message."""
        if not self.is_open:
            raise RuntimeError(f"`{self._name}` is closed")
        try:
            answers = self._exchange(requests, self.timeout)
        except BaseException:
            self._kill()  # answers that come later would be taken for those to later requests
            raise
        failed = [answer["message"] for answer in answers if answer["type"] == "error"]
        if failed:
            raise RuntimeError(failed[0])
        return answers

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
            try:
                self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                pass
        self._kill()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _exchange(self, requests: list, timeout: float) -> list:
        """Writes requests while it reads, and returns an answer to each."""
        left = memoryview("".join(json.dumps(request) + "\n" for request in requests).encode())
        until = time.monotonic() + timeout
        lines: list = []
        while len(lines) < len(requests):
            reads, writes = self._wait([self._input] if left else [], until, timeout)
            if writes:
                try:
                    left = left[os.write(self._input, left) :]
                except BrokenPipeError:
                    left = left[:0]  # its last answers may still be there
            if reads:
                chunk = os.read(self._output, _CHUNK)
                if not chunk:
                    raise RuntimeError(f"`{self._name}` ended with status {self._process.wait()}")
                *whole, self._read = (self._read + chunk).split(b"\n")
                lines += whole
        return [json.loads(line) for line in lines]

    def _wait(self, written: list, until: float, timeout: float) -> tuple:
        reads, writes, _ = select.select([self._output], written, [], max(0.0, until - time.monotonic()))
        if not reads and not writes:
            raise TimeoutError(f"`{self._name}` gave no answer within {timeout} seconds")
        return reads, writes
