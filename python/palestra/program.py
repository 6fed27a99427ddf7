"""The program ``palestra``, which this package calls."""

import os
import shutil
import sys


def program() -> str:
    """Path of the program: that of the environment variable ``PALESTRA``, or the one beside the running Python, or the one
    on the path."""
    beside = os.path.join(os.path.dirname(sys.executable), "palestra")
    found = os.environ.get("PALESTRA") or (beside if os.path.exists(beside) else shutil.which("palestra"))
    if found is None:
        raise FileNotFoundError("the program `palestra` is not on the path; name it in the environment variable PALESTRA")
    return found
