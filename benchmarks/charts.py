"""The charts of the documents: which figures of which part each one shows."""

import re
from collections.abc import Callable, Mapping
from math import log10
from typing import Any

from benchmarks.report import NOT_MEASURED, Findings, Table
from benchmarks.svg import Bars, bar_chart, line_chart

TITLES = {
    "speech": "Time and word errors by kind of recording, compared with faster-whisper alone",
    "speakers": "Speaker diarization compared with sherpa-onnx",
    "live": "Live latency by the number of streams",
    "latency": "Start latency by the number of waiting tasks",
    "fleet": "Requests of idle workers to JetStream",
}
NUMBER = re.compile(r"[\d,]*\.?\d+")
SUMMARIES = ("mean time", "one language", "worst")  # rows about all kinds
ENGINES = ("this service", "batched", "sequential")


def charts(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Draw the chart of each part that was measured, as SVG."""
    draw = {"speech": _by_kind, "speakers": _speakers, "live": _live, "latency": _starts, "fleet": _fleet}
    tables = {name: Findings.of_json(parts[name]).tables[:1] for name in TITLES if name in parts}
    return {name: draw[name](TITLES[name], table) for name, first in tables.items() for table in first}


def _by_kind(title: str, table: Table) -> str:
    rows = [row for row in table.rows if not row[0].startswith(SUMMARIES)]
    ratios = [(_number(row[3]), _number(row[4])) for row in rows]
    time = ([batched for batched, _ in ratios], [1.0 for _ in rows], [batched / other for batched, other in ratios])
    errors = ([_number(row[column]) for row in rows] for column in (5, 6, 7))
    panels = [
        Bars("Time, as a multiple of faster-whisper with batches", dict(zip(ENGINES, time, strict=True)), digits=2),
        Bars("Words wrong, in percent", dict(zip(ENGINES, errors, strict=True))),
    ]
    return bar_chart(title, [row[0].partition(",")[0] for row in rows], panels)


def _speakers(title: str, table: Table) -> str:
    shown = ("wrong speaker", "diarization error rate")
    categories = [f"{name}{worst}" for name in shown for worst in ("", ", worst")]
    series = {}
    for row in table.rows[:2]:
        under, error = row[2].split(";"), row[3].split(";")
        shares = [_number(cell) for cell in (under[0], under[-1], error[0], error[-1])]
        series[row[0]] = [*shares, 100 * _number(row[-1])]
    return bar_chart(title, [*categories, "real-time factor"], [Bars("Percent of the recordings' time", series)])


def _live(title: str, table: Table) -> str:
    columns = {1: "final p50", 2: "final p95", 3: "first partial p50", 4: "first partial p95"}
    return _lines(title, table, columns, ("streams at once, on two cores", "seconds from the word to its text"))


def _starts(title: str, table: Table) -> str:
    columns = {1: "idle worker p50", 2: "idle worker p99", 4: "busy worker p50", 5: "busy worker p99"}
    axes = ("waiting tasks", "milliseconds from publication to the first running event")
    return _lines(title, table, columns, axes, lambda count: log10(max(count, 100)))


def _fleet(title: str, table: Table) -> str:
    columns = {1: "API requests, pulls aside", 2: "pulls"}
    return _lines(title, table, columns, ("idle workers", "requests per second"))


def _lines(
    title: str,
    table: Table,
    columns: Mapping[int, str],
    axes: tuple[str, str],
    place: Callable[[float], float] = lambda number: number,
) -> str:
    """Draw a line for each of these columns; `place`: where the number of a row is on the horizontal axis."""
    series = {
        name: [None if row[column] == NOT_MEASURED else _number(row[column]) for row in table.rows]
        for column, name in columns.items()
    }
    return line_chart(title, axes, {row[0]: place(_number(row[0])) for row in table.rows}, series)


def _number(cell: str) -> float:
    """The first number in a cell."""
    return float(NUMBER.findall(cell)[0].replace(",", ""))
