"""The runbook explains each event of the log."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
TABLE = (ROOT / "docs/runbook.md").read_text(encoding="utf-8").partition("## Log events")[2].partition("\n## ")[0]


def logged() -> Iterator[str]:
    """The events that the service logs; `_report` of `natscribe up` logs where there is no terminal."""
    for folder in ("app", "handlers"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(value=event), *_]
                    ):
                        if level in LEVELS:
                            yield str(event)
                    case ast.Call(func=ast.Name(id="_report"), args=[ast.Constant(value=event), *_]):
                        yield str(event)


def test_the_runbook_lists_exactly_the_log_events() -> None:
    # Given the events in the first column of the runbook's table
    explained = {
        event for row in re.findall(r"^\| (`.+?) \|", TABLE, re.MULTILINE) for event in re.findall(r"`(\w+)`", row)
    }
    # Then they are those that the code logs
    assert set(logged()) == explained


def test_events_are_named_for_what_has_happened() -> None:
    assert [event for event in logged() if not re.fullmatch(r"[a-z]+(_[a-z]+)+", event)] == []
