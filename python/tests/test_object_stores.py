"""The program on an S3 server on loopback (moto); skipped aloud without the program or moto."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from urllib.request import Request, urlopen

try:
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server
except ImportError:
    boto3 = None

PROGRAM = os.environ.get("PALESTRA") or shutil.which("palestra")

RUN = """
name = "tale"
device = "flex"
seed = 5
[text]
files = ["{texts}"]
tokenizer = "{tokenizer}"
batch = 4
[model]
family = "gpt2"
context = 16
layers = 1
width = 16
heads = 2
[train]
updates = 6
checkpoint_every = 2
keep_checkpoints = 2
threads = 1
"""


class Server:
    """An S3 server, whose `hook` sees each request before it is answered, and may answer it in its place."""

    def __init__(self):
        application = DomainDispatcherApplication(create_backend_app)
        self.hook, self.requests = None, []

        def handle(environ, start_response):
            self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", "")))
            hook = self.hook
            if hook and hook(*self.requests[-1]):
                start_response("503 Slow Down", [("content-length", "0")])
                return [b""]
            return application(environ, start_response)

        class Quiet(WSGIRequestHandler):
            def log(self, *_):
                pass

        self.server = make_server("127.0.0.1", 0, handle, threaded=True, request_handler=Quiet)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.port}"
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=self.address, **keys)

    def keys(self, prefix):
        listed = self.client.list_objects_v2(Bucket="bucket", Prefix=prefix)
        return [item["Key"][len(prefix) :] for item in listed.get("Contents", [])]

    def read(self, key):
        return self.client.get_object(Bucket="bucket", Key=key)["Body"].read()

    def remove(self, prefix):
        for key in self.keys(prefix):
            self.client.delete_object(Bucket="bucket", Key=prefix + key)


def tale(days):
    return "".join(f"On day {day:05} the fox met the hen; all was well, and the farmer slept.\n" for day in range(days))


@unittest.skipUnless(PROGRAM, "there is no program: name it in the environment variable PALESTRA")
@unittest.skipUnless(boto3, "there is no moto: pip install 'moto[s3]' flask flask-cors")
class ObjectStores(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        urlopen(Request(f"{self.server.address}/moto-api/reset", method="POST")).close()
        self.server.client.create_bucket(Bucket="bucket")
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.addCleanup(self.server.server.shutdown)
        variables = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self.variables = variables | {
            "AWS_ENDPOINT_URL": self.server.address,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "PALESTRA_CACHE": str(self.folder / "cache"),
        }

    def start(self, *arguments):
        command = [str(argument) for argument in (PROGRAM, *arguments)]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run_program(self, *arguments):
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 0, err)
        return out

    def refused(self, *arguments):
        process = self.start(*arguments)
        _, err = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 1, err)
        return err

    def killed_at(self, number, *arguments):
        """Runs the program and kills it at a request, before this is answered; False if it made fewer."""
        seen, started, process = [0], threading.Event(), None

        def hook(*_):
            started.wait()
            seen[0] += 1
            if seen[0] == number:
                process.send_signal(signal.SIGKILL)
            return seen[0] >= number

        self.server.hook = hook
        process = self.start(*arguments)
        started.set()
        process.communicate(timeout=300)
        self.server.hook = None
        return process.returncode == -signal.SIGKILL

    def put(self, key, content):
        self.server.client.put_object(Bucket="bucket", Key=key, Body=content)

    def put_texts(self):
        """Texts in the store, and the same in a folder."""
        (self.folder / "texts").mkdir()
        rows = "".join(json.dumps({"text": line}) + "\n" for line in tale(300).splitlines())
        for name, content in {
            "a.jsonl.gz": gzip.compress(rows.encode(), mtime=0),
            "b c.txt": tale(50).encode(),
            "sub/d.md": b"# A title\n\nThe fox and the hen.\n",
        }.items():
            self.put(f"texts/{name}", content)
            path = self.folder / "texts" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)

    def test_a_corpus_tokenizer_and_run_are_those_of_files(self):
        self.put_texts()
        build = ("corpus", "--no-filters", "--validation", "0", "--quiet")
        self.run_program(*build, "s3://bucket/texts/", "--out", "s3://bucket/corpora/tale")
        self.run_program(*build, "texts", "--out", "corpus")
        self.assertIn(".palestra.json", self.server.keys("corpora/tale/"))
        self.assertFalse(list(self.folder.glob("cache/outputs/s3/bucket/corpora/*")), "it was sent")

        train = ("tokenizer", "train", "--vocab-size", "300", "--quiet")
        self.run_program(*train, "s3://bucket/corpora/tale/train-*.parquet", "--out", "s3://bucket/tokenizer")
        self.run_program(*train, "corpus/train-00000.parquet", "--out", "tokenizer")
        self.assertEqual(
            self.server.read("tokenizer/tokenizer.json"), (self.folder / "tokenizer" / "tokenizer.json").read_bytes()
        )

        encode = ("tokenizer", "encode", "--quiet", "--tokenizer")
        shard = "s3://bucket/shards/tale.tokens"
        self.run_program(*encode, "s3://bucket/tokenizer", "s3://bucket/corpora/tale/train-*.parquet", "--out", shard)
        self.run_program(*encode, "tokenizer", "corpus/train-00000.parquet", "--out", "tale.tokens")
        self.assertEqual(self.server.read("shards/tale.tokens"), (self.folder / "tale.tokens").read_bytes())
        told = self.refused(*encode, "tokenizer", "corpus/train-00000.parquet", "--out", shard)
        self.assertIn(f"{shard}: there is an object already; name another, or replace it with --overwrite", told)
        self.run_program(*encode, "tokenizer", "corpus/train-00000.parquet", "--out", shard, "--overwrite")

        remote = RUN.format(texts=shard, tokenizer="s3://bucket/tokenizer/tokenizer.json")
        (self.folder / "remote.toml").write_text(remote)
        (self.folder / "local.toml").write_text(
            RUN.format(texts="tale.tokens", tokenizer="tokenizer/tokenizer.json")
        )
        self.run_program("train", "remote.toml", "--out", "remote", "--quiet")
        self.run_program("train", "local.toml", "--out", "local", "--quiet")
        weights = [self.folder / run / "checkpoints/step-00000006/model.safetensors" for run in ("remote", "local")]
        self.assertEqual(weights[0].read_bytes(), weights[1].read_bytes())
        files = json.loads((self.folder / "remote" / "data.json").read_text())["files"]
        self.assertEqual([file["path"] for file in files], [shard, "s3://bucket/tokenizer/tokenizer.json"])

        # The data of a run that goes on must be as it was.
        self.run_program(*encode, "tokenizer", "texts/b c.txt", "--out", shard, "--overwrite")
        told = self.refused("train", "remote.toml", "--out", "remote", "--resume", "--set", "train.updates=8")
        self.assertRegex(told, "s3://bucket/shards/tale.tokens: has [0-9]+ bytes, and had")

    def test_errors_name_the_address_and_what_would_be_right(self):
        (self.folder / "a.txt").write_text(tale(5))
        (self.folder / "run.toml").write_text('name = "lake"\ndevice = "flex"\n[env]\nid = "frozen-lake-4x4"\n')
        train, run = ("tokenizer", "train", "--method", "characters"), ("train", "run.toml")
        rollout = ("rollout", "frozen-lake-4x4", "--policy", "random", "--episodes", "1")
        for arguments, told in [
            ((*train, "s3://bucket/none.txt", "--out", "t"), "s3://bucket/none.txt: 404, there is no such object"),
            ((*train, "s3://none/a.txt", "--out", "t"), "there is no bucket none"),
            ((*train, "s3://bucket/*.txt", "--out", "t"), "s3://bucket/*.txt: no object matches this pattern"),
            ((*train, "s3:///a.txt", "--out", "t"), "s3:///a.txt: names no bucket"),
            ((*train, "hdfs://a/b.txt", "--out", "t"), "hdfs:// is no address that can be read"),
            ((*train, "a.txt", "--out", "https://127.0.0.1/t"), "a web server is only read from"),
            (("corpus", "a.txt", "--out", "s3://none/c"), "there is no bucket none"),
            ((*run, "--out", "s3://bucket/run"), "mirror the run with train.upload"),
            ((*run, "--set", "train.upload=run"), 'train.upload: "run" is no address; write one like s3://bucket/run'),
            ((*run, "--set", "train.upload=s3://none/run"), "there is no bucket none"),
            ((*rollout, "--out", "s3://bucket/a.parquet"), "is written to a path alone"),
        ]:
            self.assertIn(told, self.refused(*arguments))
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["a.txt", "cache", "run.toml"])
        self.server.hook = lambda *_: True
        self.variables["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
        told = self.refused(*train, "s3://bucket/a.txt", "--out", "t")
        self.assertIn("s3://bucket/a.txt: cannot look it up:", told)
        self.assertIn("see AWS_REGION and AWS_ENDPOINT_URL", told)

    def test_answers_that_fail_are_asked_for_again(self):
        text = tale(400_000).encode()
        self.put("large.txt", text)
        count = [0]

        def hook(*_):
            count[0] += 1
            return count[0] % 3 == 0

        self.server.hook = hook
        report = json.loads(
            self.run_program(
                "tokenizer", "train", "s3://bucket/large.txt", "--method", "characters", "--out", "t", "--json"
            )
        )
        self.assertEqual(report["text_bytes"], len(text))
        self.assertGreater(count[0], 5)

    def test_a_killed_write_leaves_nothing_or_the_whole(self):
        (self.folder / "a.txt").write_text(tale(70_000))
        self.run_program("tokenizer", "train", "a.txt", "--method", "characters", "--out", "t", "--quiet")
        encode = ("tokenizer", "encode", "a.txt", "--tokenizer", "t", "--quiet", "--out")
        self.run_program(*encode, "a.tokens")
        whole = (self.folder / "a.tokens").read_bytes()
        self.assertGreater(len(whole), 8 << 20, "it is written in parts")
        kills = 0
        while self.killed_at(kills + 1, *encode, "s3://bucket/a.tokens"):
            kills += 1
            self.assertIn(self.server.keys("a.tokens"), ([], [""]))
            if self.server.keys("a.tokens"):
                self.assertEqual(self.server.read("a.tokens"), whole)
                self.server.remove("a.tokens")
        self.assertGreater(kills, 5)
        self.assertEqual(self.server.read("a.tokens"), whole)

    def test_a_killed_folder_is_no_folder_until_it_is_gone_on_with(self):
        (self.folder / "texts").mkdir()
        (self.folder / "texts" / "a.txt").write_text(tale(100))
        build = ("corpus", "texts", "--no-filters", "--quiet", "--out", "s3://bucket/c")
        read = ("tokenizer", "train", "--method", "characters", "--quiet", "--overwrite", "s3://bucket/c/", "--out", "t")
        kills, partial = 0, 0
        while self.killed_at(kills + 1, *build):
            kills += 1
            if ".palestra.json" in self.server.keys("c/"):
                manifest = json.loads(self.server.read("c/.palestra.json"))
                self.assertFalse(manifest["complete"])
                partial += 1
                self.assertIn("is not whole", self.refused(*read))
        self.assertGreaterEqual(partial, 3)
        manifest = json.loads(self.server.read("c/.palestra.json"))
        self.assertTrue(manifest["complete"])
        self.assertEqual(sorted(manifest["files"]), sorted(key for key in self.server.keys("c/") if key[0] != "."))
        self.run_program(*read)
        self.assertIn("s3://bucket/c/: there are objects already", self.refused(*build))

    def test_a_run_goes_on_from_its_mirror_on_an_empty_disk(self):
        (self.folder / "a.txt").write_text(tale(100))
        self.run_program("tokenizer", "train", "a.txt", "--vocab-size", "300", "--out", "t", "--quiet")
        (self.folder / "run.toml").write_text(RUN.format(texts="a.txt", tokenizer="t/tokenizer.json"))
        train = ("train", "run.toml", "--quiet", "--out")
        upload = ("--set", "train.upload=s3://bucket/run")
        self.run_program(*train, "whole")
        weights = "checkpoints/step-00000006/model.safetensors"

        # The process dies while it sends its second checkpoint.
        def hook(method, path, _):
            if method == "PUT" and "step-00000004" in path and path.endswith("model.safetensors"):
                process.send_signal(signal.SIGKILL)
                return True
            return False

        self.server.hook = hook
        process = self.start(*train, "first", *upload)
        process.communicate(timeout=300)
        self.server.hook = None
        self.assertEqual(process.returncode, -signal.SIGKILL)
        shutil.rmtree(self.folder / "first")
        self.assertIn("holds a run already", self.refused(*train, "first", *upload))
        self.run_program(*train, "first", *upload, "--resume")
        self.assertEqual((self.folder / "first" / weights).read_bytes(), (self.folder / "whole" / weights).read_bytes())
        lines = (self.folder / "first" / "metrics.jsonl").read_text().splitlines()
        self.assertEqual([json.loads(line)["step"] for line in lines], [1, 2, 3, 4, 5, 6])
        steps = {key.split("/")[0] for key in self.server.keys("run/")}
        self.assertEqual(steps, {"step-00000004", "step-00000006"})

        # The mirror is a run's directory, to start from and to write with.
        model = "s3://bucket/run/step-00000006"
        told = self.run_program("generate", model, "--prompt", "On day", "--max-new-tokens", "4", "--json")
        self.assertIn("text", json.loads(told))


if __name__ == "__main__":
    unittest.main()
