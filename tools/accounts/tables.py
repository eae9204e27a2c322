"""The tables of docs/access.md: who may publish and subscribe to what, a table for each section of the reference."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Final

from natscribe.schemas.channels import CLIENTS, Role

from tools.accounts.configuration import ADMIN, ADVISORIES, MONITORING
from tools.accounts.permissions import CONSUMERS, NAMES, denied, of_client, of_service, subscribed

USERS: Final = ("service", "admin", *(role.value for role in CLIENTS), "monitoring")
ROWS: Final = re.compile(r"(?:^\| `.*\n)+", re.MULTILINE)
LOGS: Final = (NAMES.progress, NAMES.segments, NAMES.speakers, NAMES.results, NAMES.erased)
FOLLOWED: Final = "|".join((*LOGS, *(name for stream, name in CONSUMERS if stream in LOGS)))
# The sections with the patterns of their subjects; a subject is in the first that matches.
SECTIONS: Final = {
    "Inboxes": r"_INBOX|_R_",
    "JetStream: the queue": rf"\$JS.*\b({NAMES.tasks}|NAMES)$",
    "JetStream: grants": rf"ready\.|scheduler\.|.*\b{NAMES.ready}\b",
    "JetStream: all streams": r"\$JS\.API\.(INFO|STREAM\.LIST|STREAM\.\w+\.\*)$|\$JS\.EVENT",
    "JetStream: what happens to tasks": rf"\$JS.*\b({FOLLOWED})\b",
    "JetStream: live audio": rf"\$JS.*\b{NAMES.live}\b",
    "JetStream: voices": r".*\bKV[._](voices|embeddings)",
    "JetStream: quotas": r"quotas\.|.*\bKV[._]quotas",
    "JetStream: the lease": r"fleet\.|.*\bKV[._]fleet",
    "JetStream: retention": rf"retention\.|.*\b{NAMES.retention}\b",
    "JetStream: dead letters": rf"\$JS.*\b{NAMES.dead_letters}\b",
    "Object Store": r"\$O\.|.*\bOBJ_",
    "The server": r"\$SYS",
    "The contract's": r"",
}
Rows = Mapping[str, tuple[str, ...]]


def with_tables(document: str) -> str:
    """Return the text of docs/access.md with new rows in the tables of its reference."""
    rows = _all_rows()
    sections = re.split(r"(?=^### )", document, flags=re.MULTILINE)
    return "".join(_with_rows(section, rows) for section in sections)


def _with_rows(section: str, rows: Rows) -> str:
    heading = section.partition("\n")[0].removeprefix("### ")
    mine = {subject: cells for subject, cells in rows.items() if _section_of(subject) == heading}
    if not mine:
        return section
    refused = {subject: cells for subject, cells in mine.items() if "x" in cells}
    others = {subject: cells for subject, cells in mine.items() if "x" not in cells}
    texts = iter([_text(table) for table in (refused, others) if table])
    return ROWS.sub(lambda _: next(texts), section)


def _section_of(subject: str) -> str:
    return next(name for name, pattern in SECTIONS.items() if re.match(pattern, subject))


def _all_rows() -> Rows:
    """Return the cells of each subject: p if the user may publish, s if it may subscribe, x if it is refused."""
    marks: dict[tuple[str, str], str] = defaultdict(str)
    for mark, user, subjects in _permissions():
        for subject in dict.fromkeys(subjects):
            marks[subject, user] += mark
    return {
        subject: tuple(marks.get((subject, user), "-") for user in USERS)
        for subject in dict.fromkeys(subject for subject, _ in marks)
    }


def _permissions() -> Iterable[tuple[str, str, Iterable[str]]]:
    yield "p", "service", [subject for group in of_service() for subject in group.subjects]
    yield "s", "service", ("_INBOX.>", *subscribed(Role.SERVICE), *ADVISORIES)
    yield "p", "admin", ADMIN
    yield "p", "monitoring", MONITORING
    for user in USERS[1:]:
        yield "s", user, (f"_INBOX_{user}.>",)
    for role in CLIENTS:
        published = [subject for group in of_client(role) for subject in group.subjects]
        unnamed = [subject.removesuffix(".>") for subject in published if ".CONSUMER.CREATE." in subject]
        yield "p", role, [*published, *unnamed]
        yield "s", role, subscribed(role)
        yield "x", role, denied(role)


def _text(rows: Rows) -> str:
    """Return the rows of a table; subjects with the same cells that differ in one word share a row."""
    lines: list[str] = []
    for cells in dict.fromkeys(rows.values()):
        subjects = [subject for subject, own in rows.items() if own == cells]
        lines += [f"| `{subject}` | {' | '.join(cells)} |\n" for subject in _merged(subjects)]
    return "".join(lines)


def _merged(subjects: list[str]) -> list[str]:
    """Merge subjects that differ in one word: `a.b` and `a.c` to `a.{b,c}`, in one place after the other."""
    for at in range(max(subject.count(".") for subject in subjects) + 1):
        groups: dict[tuple[tuple[str, ...], tuple[str, ...], bool], list[str]] = defaultdict(list)
        for words in (subject.split(".") for subject in subjects):
            groups[tuple(words[:at]), tuple(words[at + 1 :]), at < len(words)] += words[at : at + 1]
        subjects = [".".join((*before, *_either(words), *after)) for (before, after, _), words in groups.items()]
    return subjects


def _either(words: list[str]) -> list[str]:
    if len(words) < 2:  # noqa: PLR2004 -- several
        return words
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*words, strict=False))
    prefix = "".join(letters[0] for letters in same)
    prefix = prefix[: prefix.rfind("_") + 1]
    return [f"{prefix}{{{','.join(word.removeprefix(prefix) for word in words)}}}"]
