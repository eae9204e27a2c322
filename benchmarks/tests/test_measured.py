"""The figures of all kinds of recordings together."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.by_kind import table
from benchmarks.kinds import RecordingKind
from benchmarks.measured import BATCHED, OURS, SEQUENTIAL, Measured, Overall, Round
from tests.truth.recordings import Spoken

SAID = "one two three four five six seven eight nine pound"


KIND = RecordingKind("some", (Spoken(Path("some.flac"), 60.0, SAID),))


def measured(ours: float, texts: dict[str, str], kind: RecordingKind = KIND) -> Measured:
    row = Measured(kind)
    row.rounds[OURS].extend([Round(ours, [texts[OURS]]), Round(ours + 2, [texts[OURS]])])
    row.rounds[BATCHED].append(Round(10.0, [texts[BATCHED]]))
    row.rounds[SEQUENTIAL].append(Round(20.0, [texts[SEQUENTIAL]]))
    return row


GOOD = {OURS: SAID, BATCHED: SAID, SEQUENTIAL: SAID}
BAD = {OURS: "one", BATCHED: "one two three", SEQUENTIAL: "one two"}


def test_the_median_of_the_rounds_is_compared() -> None:
    row = measured(9.0, GOOD)
    assert (row.seconds(OURS), row.over(BATCHED), row.over(SEQUENTIAL)) == (10.0, 1.0, 0.5)


def test_mean_worst_and_words_are_those_of_all_that_counts() -> None:
    # Given a good kind, a slow and bad one, and the reading whose words do not count
    repeated = replace(KIND.recordings[0], words=f"{SAID} {SAID}")
    reading = replace(KIND, recordings=(repeated,), words_count=False)
    every = [measured(9.0, GOOD), measured(19.0, BAD), measured(4.0, GOOD, reading)]
    # When all are taken together
    figures = Overall(every).figures
    # Then times are a mean of three kinds, and words those of two
    assert figures["kinds"] == 3
    assert figures["service_over_bare"] == pytest.approx((1.0 + 2.0 + 0.5) / 3)
    assert figures["service_over_bare_worst"] == pytest.approx(2.0)
    assert figures["words_wrong"] == pytest.approx(9 / 20)
    # And the better of the bare engine's ways is compared with, in all and in the kind that is worst
    assert figures["words_wrong_better_bare"] == pytest.approx(7 / 20)
    assert figures["words_wrong_points_worst"] == pytest.approx(20)
    assert figures["words_missing_longest"] == 10


def test_recordings_of_several_languages_are_counted_apart() -> None:
    # Given a good kind of one language, and a bad kind of several
    every = [measured(9.0, GOOD), measured(9.0, BAD, replace(KIND, several_languages=True))]

    # When all are taken together, then each has its own errors
    figures = Overall(every).figures
    assert figures["words_wrong"] == 0
    assert figures["words_wrong_of_several_languages"] == pytest.approx(9 / 10)
    assert figures["words_wrong_of_several_languages_better_bare"] == pytest.approx(7 / 10)


def test_each_kind_has_a_row_and_so_have_the_mean_and_the_worst() -> None:
    shown = table([measured(9.0, GOOD), measured(19.0, BAD)], "some")
    assert [row[0] for row in shown.rows] == [
        "some",
        "some",
        "mean time, words of all",
        "one language, words of all",
        "worst",
    ]
    assert [row[3] for row in shown.rows] == ["1.000", "2.000", "1.500", "-", "2.000"]
    assert all(len(row) == len(shown.columns) for row in shown.rows)
