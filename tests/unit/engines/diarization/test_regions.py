from itertools import pairwise

import numpy as np
import pytest

from app.engines.diarization.regions import (
    EMBEDDING_STEP_FRAMES,
    MAX_EMBEDDING_FRAMES,
    MIN_EMBEDDING_FRAMES,
    embedding_spans,
)
from app.engines.diarization.windows import STEP_FRAMES, WINDOW_FRAMES

Speech = list[tuple[int, int, int]]  # local speaker, from, to, in frames


def activity_of(speech: Speech, windows: int = 1) -> np.ndarray:
    """Windows in each of which local speaker n is the same person."""
    frames = (windows - 1) * STEP_FRAMES + WINDOW_FRAMES
    everything = np.zeros((frames, 3), bool)
    for voice, start, end in speech:
        everything[start:end, voice] = True
    return np.stack([everything[number * STEP_FRAMES :][:WINDOW_FRAMES] for number in range(windows)])


def spans_of(speech: Speech, windows: int = 1, frames: int = WINDOW_FRAMES) -> list[tuple[int, int]]:
    return list(embedding_spans(activity_of(speech, windows), frames))


def test_a_region_is_cut_evenly_into_embeddings_that_overlap() -> None:
    # Given a person who speaks for 5 s, when their speech is cut
    spans = spans_of([(0, 100, 400)])

    # Then the embeddings are of one length, begin at most 0.75 s after each other, and cover all of it
    assert {end - start for start, end in spans} == {MAX_EMBEDDING_FRAMES}
    assert all(0 < after - before <= EMBEDDING_STEP_FRAMES for (before, _), (after, _) in pairwise(spans))
    assert (spans[0][0], spans[-1][1]) == (100, 400)


@pytest.mark.parametrize("length", [MIN_EMBEDDING_FRAMES, 50, MAX_EMBEDDING_FRAMES])
def test_short_speech_is_one_embedding_and_a_moment_is_none(length: int) -> None:
    assert spans_of([(1, 100, 100 + length), (1, 300, 300 + MIN_EMBEDDING_FRAMES - 1)]) == [(100, 100 + length)]


def test_an_embedding_ends_where_another_local_speaker_begins() -> None:
    # Given two people who follow each other without a pause, when they are cut, then no embedding has both
    spans = spans_of([(0, 100, 180), (2, 180, 260)])
    assert spans == [(100, 180), (180, 260)]


def test_where_two_speak_there_is_no_embedding() -> None:
    # Given a person who talks into what another says, when they are cut, then the speech before and after is used
    assert spans_of([(0, 100, 300), (1, 180, 220)]) == [(100, 180), (220, 300)]


def test_local_speakers_may_have_other_numbers_in_the_next_window() -> None:
    # Given two windows that give one person, who speaks all the time, different numbers
    both = activity_of([(0, 0, WINDOW_FRAMES + STEP_FRAMES)], windows=2)
    both[1] = both[1][:, [1, 0, 2]]

    # When the speech is cut, then it is one region
    spans = list(embedding_spans(both, WINDOW_FRAMES + STEP_FRAMES))
    assert {end - start for start, end in spans} == {MAX_EMBEDDING_FRAMES}
    assert max(after - before for (before, _), (after, _) in pairwise(spans)) <= EMBEDDING_STEP_FRAMES


def test_nothing_is_cut_behind_the_end() -> None:
    # Given a person who speaks on into the next chunk, when this chunk is cut, then the embeddings end with it
    assert spans_of([(0, 100, 400)], frames=150) == [(100, 150)]


def test_each_frame_is_judged_by_the_window_around_it() -> None:
    # Given speech that one window detects in its middle, and the others do not, when it is cut, then it is there
    active = activity_of([], windows=3)
    active[1, 260:320, 0] = True
    assert list(embedding_spans(active, 2 * STEP_FRAMES + WINDOW_FRAMES)) == [(STEP_FRAMES + 260, STEP_FRAMES + 320)]
    assert spans_of([]) == []
