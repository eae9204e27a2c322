"""How late text comes again after a kill."""

import pytest

from benchmarks.live_recovery import delay_behind


@pytest.mark.parametrize(
    ("texts", "delay"),
    [
        ([(9, 8), (21, 20), (25, 22)], 1),  # the text of the utterance that goes on
        ([(9, 8), (11, 9.5), (19, 12)], 7),  # a text that was on its way is not of the next worker
        ([(9, 8), (11, 9.5)], float("inf")),  # no text came again: that is no delay that others could hide
    ],
)
def test_only_text_that_ends_after_the_kill_counts(texts: list[tuple[float, float]], delay: float) -> None:
    assert delay_behind(10, texts) == delay
