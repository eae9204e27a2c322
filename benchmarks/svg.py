"""Bar and line charts as SVG, readable on light and on dark pages."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, log10

Series = Mapping[str, Sequence[float | None]]  # values of each category or point, by what the legend says

WIDTH, MARGIN, LABELS = 880, 20, 190  # pixels, the last for the names of categories
BAR, GAP, HEAD = 10, 10, 76
PLOT_HEIGHT = 220
LEFT, RIGHT, BOTTOM = MARGIN + 34, WIDTH - 60, HEAD + PLOT_HEIGHT
MIDDLE = 'class="quiet" text-anchor="middle"'
STYLE = """\
  text { fill: #1f2328; font: 13px system-ui, sans-serif } .title { font-size: 16px; font-weight: 600 }
  .quiet, .value { fill: #59636e; font-size: 12px } .value { font-size: 10px }
  .paper { fill: #ffffff } .grid { stroke: #d1d9e0 }
  .fill0 { fill: #0969da } .fill1 { fill: #bc4c00 } .fill2 { fill: #8c959f } .fill3 { fill: #8250df }
  .line { fill: none; stroke-width: 2.5 }
  .line0 { stroke: #0969da } .line1 { stroke: #bc4c00 } .line2 { stroke: #8c959f } .line3 { stroke: #8250df }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet, .value { fill: #9198a1 } .paper { fill: #0d1117 } .grid { stroke: #3d444d }
    .fill0 { fill: #4493f8 } .fill1 { fill: #f0883e } .fill2 { fill: #6e7681 } .fill3 { fill: #ab7df8 }
    .line0 { stroke: #4493f8 } .line1 { stroke: #f0883e } .line2 { stroke: #6e7681 } .line3 { stroke: #ab7df8 }
  }"""


@dataclass(frozen=True)
class Bars:
    """One panel of horizontal bars: a group for each category, with a bar for each series."""

    title: str
    series: Series
    digits: int = 1


def bar_chart(title: str, categories: Sequence[str], panels: Sequence[Bars]) -> str:
    """Draw panels next to each other, which share the names of their categories."""
    bars = max(len(panel.series) for panel in panels)
    step = bars * BAR + GAP
    width = (WIDTH - LABELS - MARGIN) / len(panels)
    marks = [
        _text(LABELS - 8, HEAD + step * number + bars * BAR / 2 + 4, category, 'text-anchor="end"')
        for number, category in enumerate(categories)
    ]
    for number, panel in enumerate(panels):
        marks += _panel(panel, LABELS + number * width, width - 54, step)
    return _document(title, HEAD + step * len(categories) + MARGIN - GAP, marks)


def _panel(panel: Bars, left: float, width: float, step: int) -> list[str]:
    highest = max(value or 0 for values in panel.series.values() for value in values) or 1
    marks = [_text(left, 46, panel.title, 'class="quiet"'), *_legend(panel.series, left)]
    spare = (step - GAP - len(panel.series) * BAR) / 2
    for number, values in enumerate(panel.series.values()):
        for index, value in enumerate(values):
            if value is None:
                continue
            top, length = HEAD + index * step + spare + number * BAR, width * value / highest
            marks.append(
                f'<rect class="fill{number}" x="{left:.1f}" y="{top:.1f}" width="{length:.1f}" height="{BAR - 1}"/>'
            )
            marks.append(_text(left + length + 4, top + BAR - 2, f"{value:.{panel.digits}f}", 'class="value"'))
    return marks


def line_chart(title: str, axes: tuple[str, str], points: Mapping[str, float], series: Series) -> str:
    """Draw a line for each series; points have labels and positions on the horizontal axis."""
    first, last = min(points.values()), max(points.values())
    across = [LEFT + (RIGHT - LEFT) * (at - first) / ((last - first) or 1) for at in points.values()]
    step, highest = _scale(max(value or 0 for values in series.values() for value in values) or 1)
    lines = [_points(across, values, highest) for values in series.values()]
    marks = [
        _text(MARGIN, 46, axes[1], 'class="quiet"'),
        *_legend(series, MARGIN),
        *_grid(step, highest),
        *(_text(x, BOTTOM + 20, label, MIDDLE) for x, label in zip(across, points, strict=True)),
        _text((LEFT + RIGHT) / 2, BOTTOM + 40, axes[0], MIDDLE),
        *(mark for number, line in enumerate(lines) for mark in _line(number, line)),
        *_ends((line[-1][1], f"{values[-1]:.1f}") for line, values in zip(lines, series.values(), strict=True)),
    ]
    return _document(title, BOTTOM + 52, marks)


def _grid(step: float, highest: float) -> Iterator[str]:
    for number in range(round(highest / step) + 1):
        y = BOTTOM - PLOT_HEIGHT * number * step / highest
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>'
        yield _text(LEFT - 8, y + 4, f"{number * step:g}", 'class="quiet" text-anchor="end"')


def _points(across: Sequence[float], values: Sequence[float | None], highest: float) -> list[tuple[float, float]]:
    drawn = [(x, value) for x, value in zip(across, values, strict=True) if value is not None]
    return [(x, BOTTOM - PLOT_HEIGHT * value / highest) for x, value in drawn]


def _line(number: int, line: Sequence[tuple[float, float]]) -> Iterator[str]:
    yield f'<path class="line line{number}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in line)}"/>'
    for x, y in line:
        yield f'<circle class="fill{number}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'


def _ends(values: Iterable[tuple[float, str]]) -> Iterator[str]:
    """Write the last value of each line next to its end, without overlaps; of each value: the height, and the text."""
    y = 0.0
    for at, value in sorted(values):
        y = max(at + 4, y + 13)
        yield _text(RIGHT + 10, y, value)


def _scale(highest: float) -> tuple[float, float]:
    """The step between lines of the grid, of 1, 2 or 5 times a power of ten, and the end of the axis."""
    rough = highest / 5
    power = 10.0 ** int(log10(rough) // 1)
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough)
    return step, step * ceil(highest / step)


def _legend(series: Series, left: float) -> list[str]:
    marks, x = [], left
    for number, name in enumerate(series):
        marks.append(f'<rect class="fill{number}" x="{x:.1f}" y="{HEAD - 21}" width="10" height="10"/>')
        marks.append(_text(x + 15, HEAD - 12, name, 'class="quiet"'))
        x += 34 + 6.2 * len(name)
    return marks


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'.replace(" >", ">")


def _document(title: str, height: float, marks: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">'
    parts = [
        head,
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}\n</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height:.0f}" rx="8"/>',
        _text(MARGIN, 26, title, 'class="title"'),
        *marks,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
