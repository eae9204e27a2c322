"""The document is valid, and as complete as the project requires, according to @asyncapi/parser and spectral."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.document import DOCUMENT, ROOT

pytestmark = pytest.mark.node

NODE = Path(sys.executable).parent / "node"
TOOLS = ROOT / "tools" / "node"
INFORMATION = 2  # severities: 0 error, 1 warning, 2 information, 3 hint


def run(*command: str | Path) -> list[dict[str, Any]]:
    assert (TOOLS / "node_modules").is_dir(), "run: make setup"
    process = subprocess.run([NODE, *command], capture_output=True, text=True, check=False, cwd=TOOLS)
    assert process.stdout.startswith("["), process.stderr
    findings: list[dict[str, Any]] = json.JSONDecoder().raw_decode(process.stdout)[0]
    return findings


def parse(document: Path) -> list[dict[str, Any]]:
    return run(TOOLS / "parse.mjs", document)


def lint(document: Path) -> set[str]:
    spectral = TOOLS / "node_modules" / "@stoplight" / "spectral-cli" / "dist" / "index.js"
    findings = run(spectral, "lint", "--quiet", "--format", "json", "--ruleset", TOOLS / "ruleset.yaml", document)
    return {finding["code"] for finding in findings}


def test_the_parser_finds_neither_errors_nor_warnings() -> None:
    assert [finding for finding in parse(ROOT / "asyncapi.yaml") if finding["severity"] < INFORMATION] == []


def test_the_ruleset_of_the_project_finds_nothing() -> None:
    assert lint(ROOT / "asyncapi.yaml") == set()


def _without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def damage(document: dict[str, Any]) -> None:
        *way, last = path
        at: Any = document
        for step in way:
            at = at[step]
        del at[last]

    return damage


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[..., Path]:
    def write(*damages: Callable[[dict[str, Any]], None]) -> Path:
        document = copy.deepcopy(DOCUMENT)
        for damage in damages:
            damage(document)
        written = tmp_path / "damaged.yaml"
        written.write_text(yaml.safe_dump(document), encoding="utf-8")
        return written

    return write


def test_the_ruleset_misses_what_is_missing(damaged: Callable[..., Path]) -> None:
    # Given a document that lacks a bit of everything
    messages = ("components", "messages")
    document = damaged(
        _without("channels", "progress", "description"),
        _without("operations", "askStatus", "summary"),
        _without(*messages, "TaskStatus", "examples"),
        _without(*messages, "DeadLetter", "contentType"),
        _without(*messages, "DeadLetter", "examples", 0, "summary"),
        _without(*messages, "DeadLetter", "examples", 0, "payload"),
        _without(*messages, "Frame", "examples", 0, "headers"),
        _without("components", "schemas", "TaskStatus", "properties", "created_at", "description"),
        _without("components", "schemas", "Turn", "description"),
        _without("components", "schemas", "ErrorCode", "x-enum-descriptions"),
        _without("operations", "askResult", "reply", "messages", 0),
        lambda document: document["operations"].update({"tasks.status": document["operations"].pop("askStatus")}),
    )
    # Then each rule says so
    assert lint(document) == {
        "channel-is-told",
        "operation-is-told",
        "operation-is-named-as-people-say-it",
        "message-is-told",
        "example-is-told",
        "example-has-a-body",
        "example-of-sound-has-headers",
        "field-is-told",
        "schema-is-told",
        "word-of-an-enum-is-told",
    }


def test_the_parser_finds_what_is_not_valid(damaged: Callable[..., Path]) -> None:
    document = damaged(_without("operations", "askStatus", "action"))
    assert [finding for finding in parse(document) if finding["severity"] < INFORMATION]
