"""Prose in documents is wrapped, so that a change of a sentence shows as a change of its lines."""

from pathlib import Path

import pytest

from tests.document import ROOT

WIDTH = 120
FOLDERS = ("*.md", ".github/**/*.md", "docs/**/*.md", "examples/*.md", "clients/*/*.md", "app/engines/**/*.md")
DOCUMENTS = [path for pattern in (*FOLDERS, "tests/**/*.md") for path in ROOT.glob(pattern)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_is_wrapped(document: Path) -> None:
    assert long_lines(document.read_text(encoding="utf-8")) == []


def long_lines(document: str) -> list[str]:
    """The lines of prose that are longer than the limit."""
    lines, in_code = [], False
    for line in document.splitlines():
        in_code ^= line.lstrip().startswith("```")
        if len(line) > WIDTH and not in_code and not line.startswith(("|", "    ")):
            lines.append(line)
    return lines
