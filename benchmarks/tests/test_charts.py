"""Charts are drawn to scale, from the figures of the tables."""

import re
from itertools import pairwise

from benchmarks.svg import Bars, Series, bar_chart, line_chart

BAR = re.compile(r'<rect class="fill\d" .*width="([\d.]+)" height="9"/>')
LINE = re.compile(r'<path class="line line\d" d="M(.+)"/>')


def test_bars_are_as_long_as_their_values() -> None:
    # Given two categories, of which one was not measured in one series
    series: Series = {"ours": [1.0, 4.0], "other": [2.0, None]}
    chart = bar_chart("A <title>", ["a", "b"], [Bars("x", series)])
    # Then each value has a bar, and the lengths have the ratios of the values
    lengths = [float(length) for length in BAR.findall(chart)]
    assert [round(length / lengths[0]) for length in lengths] == [1, 4, 2]
    # And the texts are those that were given
    texts = re.findall(r">([^<>]+)</text>", chart)
    assert {"A &lt;title&gt;", "a", "b", "ours", "other", "1.0", "4.0", "2.0"} <= set(texts)


def test_lines_rise_with_their_values_and_end_in_labels_that_do_not_overlap() -> None:
    # Given two lines that end at nearly the same value
    series: Series = {"ours": [1.0, 2.0, 7.0], "other": [None, 3.0, 7.1]}
    chart = line_chart("Title", ("x", "y"), {"1": 1, "2": 2, "3": 3}, series)
    # Then each has a point for each value, higher for larger ones
    heights = [[float(point.split()[1]) for point in line.split("L")] for line in LINE.findall(chart)]
    assert [len(line) for line in heights] == [3, 2]
    assert all(later < earlier for line in heights for earlier, later in pairwise(line))
    # And the labels at their ends keep a distance
    lower, upper = (float(re.findall(rf'y="([\d.]+)">{label}<', chart)[0]) for label in ("7.0", "7.1"))
    assert lower - upper >= 13


def test_a_single_point_is_drawn() -> None:
    assert "<circle" in line_chart("Title", ("x", "y"), {"1": 1}, {"ours": [0.0]})


def test_charts_have_colours_for_dark_pages() -> None:
    assert "prefers-color-scheme: dark" in bar_chart("Title", ["a"], [Bars("x", {"ours": [1.0]})])
