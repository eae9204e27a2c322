"""Files that documents name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob(".github/*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*.md"),
    )
    if "node_modules" not in path.parts
]
FILE = re.compile(r"`((?:app|clients|handlers|schemas|tests|tools|deploy|docs|examples|benchmarks)/[\w./-]*)`")
IN_APP = re.compile(r"`([a-z_]+/(?:[a-z_]+/)*(?:[a-z_]+\.py)?)`")  # as CONTRIBUTING.md writes it
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\(([^)#:]*)#([^)]+)\)")
PICTURE = re.compile(r"<(?:img|source)[^>]+?(?:src|srcset)=\"([^\"]+)\"")
ON_GITHUB = "../../actions/"  # pages of the repository there


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_only_files_that_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert [name for name in FILE.findall(text) if not (ROOT / name).exists()] == []
    links = [link for link in LINK.findall(text) + PICTURE.findall(text) if not link.startswith(ON_GITHUB)]
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_to_a_section_names_one_that_exists(document: Path) -> None:
    links = ANCHOR.findall(document.read_text(encoding="utf-8"))
    named = [(document.parent / file if file else document, anchor) for file, anchor in links]
    assert [anchor for file, anchor in named if anchor not in sections(file)] == []


def sections(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_guide_for_contributors_names_files_that_exist() -> None:
    names = IN_APP.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert names
    assert [name for name in names if not any((ROOT / room / name).exists() for room in ("", "app", "tests"))] == []
