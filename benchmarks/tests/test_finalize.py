"""How late final texts are, and what is played to measure that."""

import numpy as np
import pytest

from benchmarks.finalize import ANSWER_S, delays, end_of_speech, messages_of
from benchmarks.kinds import RecordingKind
from tests.truth.recordings import CLIPS, RATE, Spoken, read, words_of


@pytest.mark.parametrize(
    ("texts", "late"),
    [
        ([(5.5, 4.9), (10.75, 10.2)], [0.5, 0.75]),
        ([(3.0, 2.4), (5.5, 5.1), (10.75, 10.0)], [0.5, 0.75]),  # the first text ends before the message does
        ([(5.5, 4.9)], [0.5, float("inf")]),  # no text came: that is no delay that others could hide
    ],
)
def test_a_text_counts_when_it_has_the_last_word(texts: list[tuple[float, float]], late: list[float]) -> None:
    assert delays([5.0, 10.0], texts) == late


def test_messages_end_where_their_speech_ends() -> None:
    # Given a recording with silence after its speech
    samples = read(CLIPS[0])
    longer = np.concatenate([samples, np.zeros(3 * RATE, np.int16)])
    # Then the silence does not count
    assert end_of_speech(longer) == pytest.approx(end_of_speech(samples), abs=0.2)
    # And in a stream of two recordings, the second end is later by the first recording and the silence after it
    kind = RecordingKind("clips", tuple(Spoken(clip, len(read(clip)) / RATE, words_of(clip)) for clip in CLIPS[:2]))
    messages = messages_of(kind, 2)
    total = sum(spoken.seconds for spoken in kind.recordings)
    assert len(messages.samples) / RATE == pytest.approx(total + 2 * ANSWER_S, abs=0.01)
    assert messages.ends[0] < messages.ends[1] < len(messages.samples) / RATE - ANSWER_S + 0.1
