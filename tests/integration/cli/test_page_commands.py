"""What the page copies of a message: a command of `nats`, or Python, without secrets and safe to paste."""

import ast
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.document import ROOT
from tests.programs import BIN, output

pytestmark = pytest.mark.node

BROWSER: Path = ROOT / "web"
SCRIPT = """
import { natsCommand, pythonCode } from "./commands.js";

const message = JSON.parse(process.argv[1]);
console.log(JSON.stringify([natsCommand(message), pythonCode(message)]));
"""
HOSTILE = "it's $(reboot) `reboot` \"; \\ \n é 🎤"
IN_A_SHELL = HOSTILE.replace("\n", "?")  # a terminal obeys control characters


async def copies_of(message: dict[str, Any]) -> tuple[str, str]:
    program = ("--input-type=module", "--eval", SCRIPT, "--", json.dumps(message))
    command, code = json.loads(await output("", BIN / "node", *program, cwd=BROWSER))
    return command, code


def values_in(code: str) -> list[object]:
    """All texts and dictionaries that a program contains."""
    return [ast.literal_eval(node) for node in ast.walk(ast.parse(code)) if isinstance(node, (ast.Constant, ast.Dict))]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"how": "request", "subject": "tasks.status"}, ["nats", "req", "--raw", "tasks.status"]),
        (
            {"how": "publish", "subject": "tasks.live.normal", "headers": {"Nats-Msg-Id": HOSTILE}},
            ["nats", "pub", "--jetstream", "-H", f"Nats-Msg-Id:{IN_A_SHELL}", "tasks.live.normal"],
        ),
    ],
    ids=["request", "publish"],
)
async def test_hostile_text_stays_data(message: dict[str, Any], words: list[str]) -> None:
    # Given a message whose text would be commands
    body = {"task_id": "t1", "prompt": HOSTILE}
    # When it is copied
    command, code = await copies_of(message | {"body": body})
    # Then a shell and Python read the same message
    *start, sent = shlex.split(command.removeprefix("export TASK_ID=task-$(date +%s)\n"))
    assert (start, json.loads(sent)) == (words, body)
    values = values_in(code)
    assert body in values
    assert message.get("headers", {}) in [{}, *values]


async def test_what_was_received_is_copied_as_its_source() -> None:
    stream = {"how": "stream", "stream": "transcription_segments", "subject": "segments.t1", "body": {}}
    command, code = await copies_of(stream)
    assert command == "nats sub --stream transcription_segments --all --wait 10s --raw segments.t1"
    assert "transcription_segments" in values_in(code)
    reply = {"how": "reply", "subject": "tasks.result", "request": {"task_id": "t1"}, "body": {"text": "long"}}
    command, _ = await copies_of(reply)
    assert shlex.split(command)[-1] == '{"task_id":"t1"}'


async def test_secrets_are_masked() -> None:
    # Given a message with secrets in fields, headers and addresses
    body = {
        "password": "s3cret",
        "nested": [{"api_token": "s3cret"}],
        "url": "nats://anna:s3cret@example.org/?X-Amz-Signature=s3cret&part=2",
    }
    message = {"how": "publish", "subject": "x", "body": body, "headers": {"Authorization": "Bearer s3cret"}}
    # Then no copy has them, and the rest stays
    for copy in await copies_of(message):
        assert "s3cret" not in copy
        assert "part=2" in copy
