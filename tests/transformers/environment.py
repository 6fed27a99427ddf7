"""The Python environment of the scripts beside this one: torch, transformers and PEFT.

It is made at the first call, in ~/.cache/palestra/transformers-venv (PyPI; 6 GB, since torch's wheel for Linux carries
CUDA). `PALESTRA_TRANSFORMERS_VENV` names another place.
"""
import os, pathlib, subprocess, sys

PACKAGES = ["torch==2.9.0", "transformers==5.23.0", "peft==0.21.2", "safetensors", "numpy"]
cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
venv = pathlib.Path(os.environ.get("PALESTRA_TRANSFORMERS_VENV", cache / "palestra/transformers-venv"))


def enter(more=()):
    """Goes on in the environment, from the start of the script that was called, with packages beside those of all scripts."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    if pathlib.Path(sys.prefix).resolve() == venv.resolve():
        return
    python, wanted = venv / "bin/python", [*PACKAGES, *more]
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    names = [package.split("==")[0] for package in wanted]
    look = "import importlib.metadata, sys; [importlib.metadata.version(name) for name in sys.argv[1:]]"
    if subprocess.run([python, "-c", look, *names], stderr=subprocess.DEVNULL).returncode:
        subprocess.run([venv / "bin/pip", "install", "--quiet", *wanted], check=True)
    os.execv(python, [str(python), *sys.argv])
