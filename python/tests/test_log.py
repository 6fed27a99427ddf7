"""Logs from and to data frames; skipped aloud without pyarrow."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import palestra  # noqa: E402
from palestra.program import program  # noqa: E402


def has(package):
    return importlib.util.find_spec(package) is not None


ROWS = [
    {"episode_id": "a", "step": 0, "observation": "x", "action": "1", "reward": 0, "terminated": False, "truncated": False,
     "legal_actions": ["1", "2"]},
    {"episode_id": "a", "step": 1, "observation": "y", "action": "2", "reward": 1, "terminated": True, "truncated": False,
     "legal_actions": ["2"]},
]


@unittest.skipUnless(has("pyarrow"), "pyarrow is not installed: pip install pyarrow")
class Logs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "log.parquet"

    def test_dicts_are_a_log(self):
        log = palestra.Log.write(self.path, ROWS)
        table = log.to_arrow()
        self.assertEqual(str(table.schema.field("reward").type), "float")
        self.assertEqual(table.column("legal_actions").to_pylist(), [["1", "2"], ["2"]])
        with self.assertRaisesRegex(FileExistsError, "overwrite=True"):
            palestra.Log.write(self.path, ROWS)
        palestra.Log.write(self.path, ROWS[1:], overwrite=True)
        self.assertEqual(len(log.to_arrow()), 1)
        self.assertEqual(os.listdir(self.path.parent), ["log.parquet"])

    def test_what_is_no_log_is_refused(self):
        for change, told in [
            ({"rewards": 1}, "the column `rewards` is not known"),
            ({"action": None}, "the column `action` has 1 rows without a value"),
        ]:
            with self.assertRaisesRegex(ValueError, told):
                palestra.Log.write(self.path, [{**ROWS[0], **change}])
        with self.assertRaisesRegex(ValueError, "the rows have no column `reward`"):
            palestra.Log.write(self.path, [{name: value for name, value in ROWS[0].items() if name != "reward"}])
        self.assertFalse(self.path.exists())

    @unittest.skipUnless(has("pandas") and has("polars"), "pandas and polars are not installed: pip install pandas polars")
    def test_data_frames_there_and_back(self):
        import pandas
        import polars

        for frame in (pandas.DataFrame(ROWS), polars.DataFrame(ROWS)):
            log = palestra.Log.write(self.path, frame, overwrite=True)
            self.assertEqual(list(log.to_pandas()["action"]), ["1", "2"])
            self.assertEqual(log.to_polars()["reward"].to_list(), [0.0, 1.0])

    @unittest.skipUnless(
        os.environ.get("PALESTRA") or shutil.which("palestra"), "there is no program: name it in the variable PALESTRA"
    )
    def test_the_program_finds_no_mistake(self):
        recorded = self.path.with_name("recorded.parquet")
        record = ["rollout", "frozen-lake-4x4", "--policy", "random", "--episodes", "3", "--out", str(recorded)]
        subprocess.run([program(), *record], check=True, capture_output=True)
        for rows in (ROWS, palestra.Log(recorded).to_pandas(), palestra.Log(recorded).to_arrow()):
            palestra.Log.write(self.path, rows, overwrite=True)
            done = subprocess.run([program(), "log", "check", str(self.path)], capture_output=True, text=True)
            self.assertEqual((done.returncode, "no rule is broken" in done.stdout), (0, True), done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
