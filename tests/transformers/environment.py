#!/usr/bin/env python3
"""The Python environment of the scripts beside this one: torch, transformers, PEFT and TRL.

    python3 tests/transformers/environment.py       makes it, as `cargo xtask parity` and the first call of a script do

Python 3.11 or newer makes it. It stands in ~/.cache/palestra/transformers-venv (PyPI; 7 GB, since torch's wheel for Linux carries CUDA).
`PALESTRA_CACHE` names another cache folder, `PALESTRA_TRANSFORMERS_VENV` another place for the environment itself.
"""
import os, pathlib, subprocess, sys

PACKAGES = ["torch==2.9.0", "transformers==5.23.0", "peft==0.21.2", "trl==1.16.0", "tokenizers==0.23.3", "safetensors==0.8.0",
            "accelerate==1.15.0", "datasets==5.2.0", "numpy==2.4.6"]
cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "palestra"
cache = pathlib.Path(os.environ.get("PALESTRA_CACHE") or cache)
venv = pathlib.Path(os.environ.get("PALESTRA_TRANSFORMERS_VENV") or cache / "transformers-venv")

# Exits with 1 if a package is missing or of another version; torch's has a suffix such as +cu128.
LOOK = """
import importlib.metadata, sys
for package in sys.argv[1:]:
    name, version = package.split("==")
    try:
        found = importlib.metadata.version(name).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found != version:
        sys.exit(1)
"""


def make():
    """Its Python, with all packages in their versions."""
    python = venv / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    if subprocess.run([python, "-c", LOOK, *PACKAGES]).returncode:
        print(f"Bringing {', '.join(PACKAGES)} into {venv}", file=sys.stderr)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def enter():
    """Goes on in the environment, from the start of the script that was called."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    if pathlib.Path(sys.prefix).resolve() == venv.resolve():
        return
    python = make()
    os.execv(python, [str(python), *sys.argv])


if __name__ == "__main__":
    try:
        make()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
