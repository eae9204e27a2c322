"""Check documents, notices and workflows: `python -m tools.check_documents` prints each finding, one a line."""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
NODE = Path(sys.executable).parent / "node"
WIDTH = 120
DECISION_WORDS = 700
LINKING = ("*.md", ".github/*.md", "docs/**/*.md", "examples/*.md")
WRAPPED = (*LINKING, ".github/**/*.md", "clients/*/*.md", "app/engines/**/*.md", "tests/**/*.md")

FILE = re.compile(r"`((?:app|clients|handlers|schemas|tests|tools|deploy|docs|examples|benchmarks|web)/[\w./-]*)`")
IN_APP = re.compile(r"`([a-z_]+/(?:[a-z_]+/)*(?:[a-z_]+\.py)?)`")  # as CONTRIBUTING.md writes it
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\(([^)#:]*)#([^)]+)\)")
PICTURE = re.compile(r"<(?:img|source)[^>]+?(?:src|srcset)=\"([^\"]+)\"")
ON_GITHUB = "../../actions/"  # pages of the repository there
ACTION = re.compile(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def main() -> None:
    """Print all findings; exit with 1 if there is one."""
    findings = [*prose(), *links(), *notices(), *workflows()]
    for finding in findings:
        print(finding, file=sys.stderr)
    sys.exit(bool(findings))


def prose() -> Iterator[str]:
    """Prose is wrapped, so that a change of a sentence shows as a change of its lines; a decision fits on a page."""
    for path in documents(*WRAPPED):
        for number, line in long_lines(read(path)):
            yield f"{name(path)}:{number}: {len(line)} characters, at most {WIDTH}"
    for path in documents("docs/decisions/*.md"):
        if (words := len(read(path).split())) > DECISION_WORDS:
            yield f"{name(path)}: {words} words, at most {DECISION_WORDS}"


def long_lines(document: str) -> Iterator[tuple[int, str]]:
    """The lines of prose that are longer than the limit, with their numbers."""
    in_code = False
    for number, line in enumerate(document.splitlines(), start=1):
        in_code ^= line.lstrip().startswith("```")
        if len(line) > WIDTH and not in_code and not line.startswith(("|", "    ")):
            yield number, line


def links() -> Iterator[str]:
    """Files and sections that documents name exist."""
    for path in documents(*LINKING):
        text = read(path)
        targets = [ROOT / file for file in FILE.findall(text)]
        targets += [
            path.parent / link for link in LINK.findall(text) + PICTURE.findall(text) if not link.startswith(ON_GITHUB)
        ]
        yield from (f"{name(path)}: no file {target}" for target in targets if not target.exists())
        for file, anchor in ANCHOR.findall(text):
            target = path.parent / file if file else path
            if target.exists() and anchor not in sections(target):
                yield f"{name(path)}: no section #{anchor} in {name(target.resolve())}"
    for file in IN_APP.findall(read(ROOT / "CONTRIBUTING.md")):
        if not any((ROOT / folder / file).exists() for folder in ("", "app", "tests")):
            yield f"CONTRIBUTING.md: no file {file}"


def sections(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", read(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def notices() -> Iterator[str]:
    """Recordings and scripts of others have their hashes in NOTICE."""
    recordings = [path for path in (ROOT / "tests/recordings").rglob("*") if path.is_file()]
    present = {(sha256(path), name(path)) for path in recordings if path.name != "README.md"}
    lines = [tuple(line.split()) for line in read(ROOT / "NOTICE").splitlines()]
    listed = {(line[0], line[1]) for line in lines if line[1:] and line[1].startswith("tests/recordings/")}
    for file in sorted({file for _, file in present ^ listed}):
        yield f"NOTICE: {file} does not have this hash, or is not listed"
    script = ROOT / "web/nats.js"
    if (sha256(script), name(script)) not in lines:
        yield f"NOTICE: {name(script)} does not have this hash, or is not listed"


def workflows() -> Iterator[str]:
    """GitHub's workflows are valid, pin their actions, and test the versions of Python that are promised."""
    paths = sorted((ROOT / ".github/workflows").iterdir())
    for finding in linted(*paths):
        yield f"workflows: {finding}"
    for path in paths:
        uses = re.findall(r"uses: (.+)", read(path))
        yield from (f"{name(path)}: not pinned by its commit: {use}" for use in uses if not ACTION.fullmatch(use))
    job = yaml.safe_load(read(ROOT / ".github/workflows/ci.yml"))["jobs"]["test"]
    if ".ci/run" not in [step.get("run") for step in job["steps"]]:
        yield "ci.yml: the job `test` does not run .ci/run"
    oldest, *_, newest = job["strategy"]["matrix"]["python"]
    promised = f">={oldest},<3.{int(newest.partition('.')[2]) + 1}"
    if tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["requires-python"] != promised:
        yield f"pyproject.toml: ci.yml tests other versions: {promised}"
    for document, to in {"README.md": " to ", "README.ru.md": "\N{EN DASH}", "CONTRIBUTING.md": " to "}.items():
        if f"Python {oldest}{to}{newest}" not in read(ROOT / document):
            yield f"{document}: does not say Python {oldest}{to}{newest}"


def linted(*paths: Path) -> list[object]:
    """What the linter of workflows finds."""
    command: list[str | Path] = [NODE, "lint_workflows.mjs", *paths]
    done = subprocess.run(command, cwd=ROOT / "tools/node", check=True, capture_output=True, timeout=60)  # noqa: S603 -- ours
    findings: list[object] = json.loads(done.stdout)
    return findings


def documents(*patterns: str) -> list[Path]:
    """The documents that match, without those of packages of Node."""
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(path for path in found if "node_modules" not in path.parts)


def read(path: Path) -> str:
    """The text of a file."""
    return path.read_text(encoding="utf-8")


def name(path: Path) -> str:
    """A file as seen from the repository."""
    return str(path.relative_to(ROOT))


def sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
