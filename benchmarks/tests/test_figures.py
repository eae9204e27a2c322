"""The figures in the documents are the ones that were measured."""

import re
from pathlib import Path

import pytest

from benchmarks.record import Record
from benchmarks.report import Findings, Table

FINDINGS = Findings(
    [Table("Memory by length", ("minutes", "MiB"), [("10", "500"), ("180", "505")], ["One worker."])],
    {"memory_longest_over_shortest": 1.01},
)


@pytest.mark.parametrize("name", ["docs/performance.md", "README.md", "README.ru.md"])
def test_documents_have_the_measured_figures(name: str) -> None:
    # Given what the last runs of `make bench` have stored, and what they would write
    expected = {path.name: text for path, text in Record.kept().documents().items()}
    # Then the document says just that
    assert Path(name).read_text(encoding="utf-8") == expected[Path(name).name]


def test_charts_show_what_was_measured() -> None:
    # Given what the last runs of `make bench` have stored
    expected = Record.kept().charts()
    # Then the charts are those of these figures, and no others
    assert {path.name: path.read_text(encoding="utf-8") for path in Path("docs/charts").iterdir()} == {
        path.name: chart for path, chart in expected.items()
    }


@pytest.mark.parametrize("name", ["README.md", "README.ru.md"])
def test_the_readme_names_the_worst_cases_of_speakers(name: str) -> None:
    # Given the table of docs/speakers.md, and what README says beside its own figure
    table = Path("docs/speakers.md").read_text(encoding="utf-8").replace(" %", "%")
    worst = re.findall(
        r"\d\d[.,]\d(?=\s?%)", re.split(r"worst cases|Худшие", Path(name).read_text(encoding="utf-8"))[1]
    )
    # Then each worst case is one of the table
    assert len(worst) == 3
    assert all(f"{share.replace(',', '.')}%" in table for share in worst)


def test_what_was_measured_is_in_the_report_and_in_the_summary() -> None:
    # Given a run of one part
    record = Record({}).with_part("memory", FINDINGS)
    # When it is written down
    report, english, russian = record.documents().values()
    # Then the report has the table, with its note, where it was measured, and with what
    assert "| 10      | 500 |" in report
    assert "| 180     | 505 |" in report
    assert "- One worker." in report
    assert "faster-whisper" in report
    # And the line of which everything was measured, and no other
    assert report.count("three hours take 1.01") == 1
    assert "**Start:**" not in report
    # And README has no line, because none of its figures was measured
    assert "**Start:**" not in english
    assert "мс после публикации" not in russian


def test_figures_in_russian_are_written_as_russians_write_them() -> None:
    # Given figures with a fraction, a percentage and a million
    figures = {"start_p50_ms": 5.1, "start_p99_ms": 8.7, "waiting_most": 1e6, "start_behind_most_over_empty": 0.88}
    figures |= {"time_under_another": 0.027, "conversations": 8}
    record = Record({}).with_part("latency", Findings([], figures))
    # When they are written into the README in Russian
    russian = re.sub(r"\n +", " ", list(record.documents().values())[-1])
    # Then fractions have a comma, and no line breaks within a number or before a percent sign
    assert "5,1 мс" in russian
    assert "1\N{NO-BREAK SPACE}000\N{NO-BREAK SPACE}000 задач" in russian
    assert "2,7\N{NO-BREAK SPACE}%" in russian
