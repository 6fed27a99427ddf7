"""The program on Azurite, a server of Azure's protocol on loopback; skipped aloud without the program or Azurite."""

import base64
import hashlib
import hmac
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
from email.utils import formatdate
from pathlib import Path
from urllib.request import Request, urlopen

from test_object_stores import PROGRAM, RUN, tale

AZURITE = os.environ.get("AZURITE") or shutil.which("azurite-blob")

# The account that Azurite and the clients of Azure know for tests.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@unittest.skipUnless(PROGRAM, "there is no program: name it in the environment variable PALESTRA")
@unittest.skipUnless(AZURITE, "there is no Azurite: npm install azurite, and name azurite-blob in AZURITE")
class Azure(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        command = [AZURITE, "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--blobPort", port]
        command += ["--location", self.folder / "store"]
        server = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.make_container()
        variables = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
        self.variables = variables | {
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": self.address,
            "PALESTRA_CACHE": str(self.folder / "cache"),
        }

    def make_container(self):
        """Makes the container `bucket` by a request that is signed with the account's key."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        named = "".join(f"{name}:{value}\n" for name, value in headers.items())
        text = "PUT" + 12 * "\n" + f"{named}/{ACCOUNT}/{ACCOUNT}/bucket\nrestype:container"
        signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
        headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
        url = f"{self.address}/{ACCOUNT}/bucket?restype=container"
        for left in reversed(range(100)):
            try:
                return urlopen(Request(url, headers=headers, method="PUT")).close()
            except OSError as error:
                if left == 0 or not isinstance(getattr(error, "reason", None), ConnectionError):
                    raise
            time.sleep(0.1)

    def run_program(self, *arguments, code=0):
        command = [str(argument) for argument in (PROGRAM, *arguments)]
        done = subprocess.run(command, cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def test_files_folders_and_runs_are_those_of_a_disk(self):
        (self.folder / "a.txt").write_text(tale(70_000))
        train = ("tokenizer", "train", "a.txt", "--method", "characters", "--quiet", "--out")
        encode = ("tokenizer", "encode", "a.txt", "--quiet", "--tokenizer")
        self.run_program(*train, "az://bucket/tokenizer")
        self.run_program(*train, "tokenizer")
        self.run_program(*encode, "az://bucket/tokenizer", "--out", "az://bucket/a.tokens")
        self.run_program(*encode, "tokenizer", "--out", "a.tokens")
        self.assertGreater((self.folder / "a.tokens").stat().st_size, 8 << 20, "it is written in parts")
        told = self.run_program(*encode, "tokenizer", "--out", "az://bucket/a.tokens", code=1)
        self.assertIn("az://bucket/a.tokens: there is an object already", told)
        self.assertIn("az://bucket/tokenizer/: there are objects", self.run_program(*train, "az://bucket/tokenizer", code=1))
        (self.folder / "texts").mkdir()
        (self.folder / "texts/a.txt").write_text(tale(300))
        self.run_program("corpus", "texts", "--no-filters", "--quiet", "--out", "az://bucket/corpus")
        again = ("corpus", "az://bucket/corpus/train-*.parquet", "--no-filters", "--quiet", "--out", "again")
        self.run_program(*again)

        remote = RUN.format(texts="az://bucket/a.tokens", tokenizer="az://bucket/tokenizer/tokenizer.json")
        (self.folder / "remote.toml").write_text(remote)
        (self.folder / "local.toml").write_text(RUN.format(texts="a.tokens", tokenizer="tokenizer/tokenizer.json"))
        upload = ("--set", "train.upload=az://bucket/run")
        self.run_program("train", "local.toml", "--out", "local", "--quiet")
        self.run_program("train", "remote.toml", "--out", "remote", "--quiet", *upload, "--set", "train.updates=4")
        shutil.rmtree(self.folder / "remote")
        self.run_program("train", "remote.toml", "--out", "remote", "--quiet", *upload, "--resume", "--set", "train.updates=6")
        weights = [self.folder / run / "checkpoints/step-00000006/model.safetensors" for run in ("remote", "local")]
        self.assertEqual(weights[0].read_bytes(), weights[1].read_bytes())
        model = "az://bucket/run/step-00000006"
        told = self.run_program("generate", model, "--prompt", "On day", "--max-new-tokens", "4", "--json")
        self.assertIn("text", json.loads(told))


if __name__ == "__main__":
    unittest.main()
