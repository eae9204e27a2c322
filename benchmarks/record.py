"""The results of the last run of each part: stored in a file, and written into docs/performance.md and README."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.charts import TITLES, charts
from benchmarks.machine import commit, machine, versions
from benchmarks.report import Findings, wrapped
from benchmarks.stack import ROOT

KEPT = ROOT / "benchmarks/figures.json"
BEGIN, END = "<!-- written by `make bench` -->", "<!-- until here -->"
PARTS = {
    "speech": "Speech",
    "words": "Times of words",
    "speakers": "Who says what",
    "sharing": "One recording on two workers",
    "live": "Live audio",
    "finalize": "Live text on request",
    "silence": "Live audio without speech",
    "latency": "Starts, and tasks without work",
    "cluster": "Three NATS servers",
    "memory": "Memory",
    "fleet": "A fleet of workers",
}


class _Russian(float):
    """A number that is formatted as Russians write it: 1 000 000 and 4,9 %, with spaces at which no line breaks."""

    _MARKS = str.maketrans({",": "\N{NO-BREAK SPACE}", ".": ",", "%": "\N{NO-BREAK SPACE}%"})

    def __format__(self, spec: str, /) -> str:
        return super().__format__(spec).translate(self._MARKS)


@dataclass(frozen=True)
class Record:
    """The results of all parts, each with its machine and date."""

    parts: Mapping[str, Mapping[str, Any]]

    @classmethod
    def kept(cls) -> "Record":
        """The record in the file."""
        return cls(json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {})

    def with_part(self, name: str, findings: Findings) -> "Record":
        """The record with new results of one part."""
        measured = {"on": datetime.now(UTC).date().isoformat(), "commit": commit(), "machine": machine()}
        return Record({**self.parts, name: {**measured, "versions": versions(), **asdict(findings)}})

    @property
    def figures(self) -> dict[str, float]:
        """The numbers of all parts."""
        return {name: value for part in self.parts.values() for name, value in part["figures"].items()}

    def write(self) -> None:
        """Write the file, the documents and their charts."""
        KEPT.write_text(json.dumps(self.parts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for path, text in (self.documents() | self.charts()).items():
            path.write_text(text, encoding="utf-8")

    def charts(self) -> dict[Path, str]:
        """The charts of these results, by path."""
        return {ROOT / "docs/charts" / f"{name}.svg": chart for name, chart in charts(self.parts).items()}

    def documents(self) -> dict[Path, str]:
        """The documents with these results, by path."""
        russian = {name: _Russian(value) for name, value in self.figures.items()}
        texts = {
            "docs/performance.md": self._report(),
            "README.md": self._summary("summary.md", self.figures),
            "README.ru.md": self._summary("summary.ru.md", russian),
        }
        return {ROOT / name: _replaced((ROOT / name).read_text(encoding="utf-8"), text) for name, text in texts.items()}

    def _report(self) -> str:
        """The sentences, then charts and tables."""
        measured = [(title, self.parts[name]) for name, title in PARTS.items() if name in self.parts]
        drawn = charts(self.parts)
        pictures = {PARTS[name]: [f"![{TITLES[name]}](charts/{name}.svg)"] for name in drawn}
        sections = [_section(title, part, [_where(part), *pictures.get(title, [])]) for title, part in measured]
        return "\n\n".join(["## Summary", self._summary("details.md", self.figures), *sections])

    @staticmethod
    def _summary(name: str, figures: Mapping[str, float]) -> str:
        """The lines of a template whose figures were all measured."""
        lines = []
        for line in (ROOT / "benchmarks" / name).read_text(encoding="utf-8").splitlines():
            with suppress(KeyError):
                lines.append(wrapped(line.format_map(figures)))
        return "\n".join(lines)


def _where(part: Mapping[str, Any]) -> str:
    return wrapped(f"{part['on']}, commit {part['commit']}, on {part['machine']}; {part['versions']}.")


def _section(title: str, part: Mapping[str, Any], before: Sequence[str]) -> str:
    return "\n\n".join([f"## {title}", *before, *map(str, Findings.of_json(part).tables)])


def _replaced(document: str, text: str) -> str:
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text}\n{END}{after}"
