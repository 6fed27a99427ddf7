"""Checks the exported JSON with the packages of Argilla and Label Studio, and records what they write of it.

    UPDATE_EXCHANGE=1 cargo test -p palestra-labels exchange    # writes argilla.json, label-studio.json, labeling.xml
    pip install argilla==2.8.0 label-studio-sdk==2.1.2
    python3 record.py                                           # writes from-argilla.json, from-label-studio.json
"""

import json
import tempfile
from pathlib import Path

from argilla.records._resource import Record
from label_studio_sdk.converter import Converter
from label_studio_sdk.label_interface import LabelInterface

HERE = Path(__file__).parent


def read(name):
    return json.loads((HERE / name).read_text())


def write(name, value):
    (HERE / name).write_text(json.dumps(value, indent=2) + "\n")


def argilla():
    written = []
    for record in read("argilla.json"):
        again = Record.from_dict(record).to_dict()
        assert again["fields"] == record["fields"], (again, record)
        assert again["metadata"] == record["metadata"], (again, record)
        assert again["responses"].keys() == record["responses"].keys(), (again, record)
        for question, responses in record["responses"].items():
            values = [(response["value"], str(response["user_id"])) for response in again["responses"][question]]
            assert values == [(response["value"], response["user_id"]) for response in responses], question
        written.append(again)
    write("from-argilla.json", written)


def label_studio():
    config = (HERE / "labeling.xml").read_text()
    interface = LabelInterface(config)
    interface.validate()
    tasks = read("label-studio.json")
    for task in tasks:
        # With annotations, `validate_task` of this version calls a method without its argument.
        assert interface.validate_task({"id": task["id"], "data": task["data"]}), task
        for annotation in task["annotations"]:
            assert interface.validate_annotation(annotation), annotation
    with tempfile.TemporaryDirectory() as folder:
        converter = Converter(config=config, project_dir=folder)
        converter.convert_to_json(str(HERE / "label-studio.json"), folder, is_dir=False)
        converted = json.loads((Path(folder) / "result.json").read_text())
    assert [task["data"] for task in converted] == [task["data"] for task in tasks], converted
    write("from-label-studio.json", converted)


if __name__ == "__main__":
    argilla()
    label_studio()
    print("both packages read what was exported")
