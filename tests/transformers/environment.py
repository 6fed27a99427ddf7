"""The Python environment of these scripts: made at the first call, in ~/.cache/palestra/transformers-venv (PyPI; 6 GB, since
torch's wheel for Linux carries CUDA). `PALESTRA_TRANSFORMERS_VENV` names another place."""
import os, pathlib, subprocess, sys

PACKAGES = ["torch==2.9.0", "transformers==5.23.0", "peft==0.21.2", "safetensors", "numpy"]
cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
venv = pathlib.Path(os.environ.get("PALESTRA_TRANSFORMERS_VENV", cache / "palestra/transformers-venv"))


def enter(script, more=()):
    """Runs the script again in the environment, with these packages beside those of all scripts."""
    if pathlib.Path(sys.prefix).resolve() == venv.resolve():
        return
    python = venv / "bin/python"
    wanted = [*PACKAGES, *more]
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *wanted], check=True)
    names = [package.split("==")[0] for package in wanted]
    look = "import importlib.metadata, sys; [importlib.metadata.version(name) for name in sys.argv[1:]]"
    if subprocess.run([python, "-c", look, *names], stderr=subprocess.DEVNULL).returncode:
        subprocess.run([venv / "bin/pip", "install", "--quiet", *wanted], check=True)
    os.execv(python, [str(python), script, *sys.argv[1:]])
