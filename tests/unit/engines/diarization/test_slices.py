from itertools import pairwise

import numpy as np
import pytest

from app.engines.diarization.excerpts import FRAMES, FRAMES_APART
from app.engines.diarization.slices import SHORTEST_FRAMES, SLICE_FRAMES, SLICES_APART, slices

Said = list[tuple[int, int, int]]  # voice, from, to, in frames


def speaking(said: Said, excerpts: int = 1) -> np.ndarray:
    """Excerpts in each of which voice n is the same person."""
    frames = (excerpts - 1) * FRAMES_APART + FRAMES
    everything = np.zeros((frames, 3), bool)
    for voice, start, end in said:
        everything[start:end, voice] = True
    return np.stack([everything[number * FRAMES_APART :][:FRAMES] for number in range(excerpts)])


def found(said: Said, excerpts: int = 1, frames: int = FRAMES) -> list[tuple[int, int]]:
    return list(slices(speaking(said, excerpts), frames))


def test_a_region_is_cut_evenly_into_slices_that_overlap() -> None:
    # Given somebody who speaks for 5 s, when their speech is cut
    cut = found([(0, 100, 400)])

    # Then the slices are of one length, begin at most 0.75 s after each other, and cover all of it
    assert {end - start for start, end in cut} == {SLICE_FRAMES}
    assert all(0 < after - before <= SLICES_APART for (before, _), (after, _) in pairwise(cut))
    assert (cut[0][0], cut[-1][1]) == (100, 400)


@pytest.mark.parametrize("length", [SHORTEST_FRAMES, 50, SLICE_FRAMES])
def test_short_speech_is_one_slice(length: int) -> None:
    assert found([(1, 100, 100 + length)]) == [(100, 100 + length)]


def test_speech_of_a_moment_is_no_slice() -> None:
    assert found([(1, 100, 100 + SHORTEST_FRAMES - 1)]) == []


def test_a_slice_ends_where_another_voice_begins() -> None:
    # Given two people who follow each other without a pause, when they are cut, then no slice has both
    cut = found([(0, 100, 180), (2, 180, 260)])
    assert cut == [(100, 180), (180, 260)]


def test_where_two_speak_there_is_no_slice() -> None:
    # Given somebody who talks into what another says, when they are cut, then the speech before and after is used
    assert found([(0, 100, 300), (1, 180, 220)]) == [(100, 180), (220, 300)]


def test_voices_may_be_numbered_anew_in_the_next_excerpt() -> None:
    # Given two excerpts that give one person, who speaks all the time, different numbers
    both = speaking([(0, 0, FRAMES + FRAMES_APART)], excerpts=2)
    both[1] = both[1][:, [1, 0, 2]]

    # When the speech is cut, then it is one region
    cut = list(slices(both, FRAMES + FRAMES_APART))
    assert {end - start for start, end in cut} == {SLICE_FRAMES}
    assert max(after - before for (before, _), (after, _) in pairwise(cut)) <= SLICES_APART


def test_nothing_is_cut_behind_the_end() -> None:
    # Given somebody who speaks on into the next chunk, when this chunk is cut, then the slices end with it
    assert found([(0, 100, 400)], frames=150) == [(100, 150)]


def test_silence_has_no_slices() -> None:
    assert found([]) == []
