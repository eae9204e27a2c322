"""The AsyncAPI document is what the code says, and says all of the contract."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SUBJECTS = [
    *(
        f"tasks.{kind}.{priority}"
        for kind in ("transcription", "diarization")
        for priority in ("high", "normal", "low")
    ),
    "progress.{task_id}",
    "segments.{task_id}",
    "results.{task_id}",
    "dead_letters.transcription",
    "dead_letters.diarization",
    "tasks.status",
    "tasks.result",
    "tasks.cancel",
    "tasks.delete",
    "dead_letters.replay",
    "accepted.tasks.transcription.*",
    "accepted.tasks.diarization.*",
]


@pytest.fixture(scope="module")
def document() -> dict:
    return yaml.safe_load((ROOT / "asyncapi.yaml").read_text(encoding="utf-8"))


def test_the_document_is_what_the_command_writes(tmp_path: Path) -> None:
    # Given an environment in which no server answers
    environment = os.environ | {"NATS_URL": "nats://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1/0"}
    faststream = Path(sys.executable).parent / "faststream"
    written = tmp_path / "asyncapi.yaml"
    # When the document is generated
    command = [faststream, "docs", "gen", "app.main:app", "--yaml", "--out", str(written)]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)
    # Then it is the one in the repository
    assert written.read_text(encoding="utf-8") == (ROOT / "asyncapi.yaml").read_text(encoding="utf-8"), "run: make spec"


def test_every_subject_of_the_contract_is_in_it(document: dict) -> None:
    addresses = [channel["address"] for channel in document["channels"].values() if channel["address"]]
    assert sorted(addresses) == sorted(SUBJECTS)


def test_every_channel_has_an_operation(document: dict) -> None:
    used = {operation["channel"]["$ref"].removeprefix("#/channels/") for operation in document["operations"].values()}
    named = {name.replace("*", "%2A").replace("{", "%7B").replace("}", "%7D") for name in document["channels"]}
    assert {name for name in named if not name.endswith(".reply")} == {
        name.replace("{", "%7B").replace("}", "%7D") for name in used
    }


def test_every_request_says_how_it_is_answered(document: dict) -> None:
    for subject in ("tasks.status", "tasks.result", "tasks.cancel", "tasks.delete", "dead_letters.replay"):
        reply = document["operations"][subject]["reply"]
        (reference,) = reply["messages"]
        channel = document["channels"][f"{subject}.reply"]
        assert reference["$ref"] == f"#/channels/{subject}.reply/messages/Reply"
        payload = document["components"]["messages"][channel["messages"]["Reply"]["$ref"].rpartition("/")[2]]["payload"]
        assert {"$ref": "#/components/schemas/ErrorReply"} in payload["anyOf"]


def test_every_reference_points_at_something(document: dict) -> None:
    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        if isinstance(node, list):
            return [found for value in node for found in references(value)]
        return []

    for reference in references(document):
        at: dict = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part.replace("%2A", "*").replace("%7B", "{").replace("%7D", "}")]
