from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.timeline import Times
from app.engines.audio.windows import (
    FIRST_CHUNK_S,
    FRAME,
    LATER_CHUNK_S,
    DetectedWindows,
    UnpackedWindow,
    chunks,
    detect_windows,
    next_window,
)
from app.engines.windows import MAX_WINDOW_S

from .loudness import RATE, Samples, conversation, frames_missed, loudness, samples_of

HELD_S = 90 + LATER_CHUNK_S + 1  # audio is held until a window ends, and then comes one chunk more


def find(samples: Samples, start_at: float = 0.0, piece: int = 4096) -> list[UnpackedWindow]:
    pieces = (samples[at : at + piece] for at in range(0, len(samples), piece))
    return [window for detected in detect_windows(pieces, start_at, loudness) for window in detected.windows]


def regions_of(samples: Samples) -> list[list[Times]]:
    """When the regions of each window start and end, in seconds."""
    return [list(window.regions) for window in find(samples)]


def seconds_of(window: UnpackedWindow) -> float:
    """How long the audio of a window is."""
    return len(window.samples) / SAMPLE_RATE


def test_chunks_begin_at_fixed_times_and_lose_nothing() -> None:
    # Given a recording in pieces of any size
    samples = np.arange(SAMPLE_RATE * 150 + 7, dtype=np.float32)

    # When it is gathered into chunks from small and from large pieces
    small = list(chunks(samples[at : at + 1000] for at in range(0, len(samples), 1000)))
    large = list(chunks([samples]))

    # Then both give the same chunks, and together they are the recording
    assert [len(chunk) for chunk in small] == [len(chunk) for chunk in large]
    assert np.array_equal(np.concatenate(small), samples)


def test_silence_has_no_windows_but_is_processed() -> None:
    # Given 100 s of silence
    samples = samples_of((0.0, 100))

    # When it is processed
    detected = list(detect_windows([samples], 0.0, loudness))

    # Then no window is detected, and all of it was decoded
    assert not any(window.windows for window in detected)
    assert detected[-1].seconds == pytest.approx(100, abs=0.04)


def test_a_silence_ends_a_region_and_is_cut_to_little() -> None:
    # Given speech with a pause of half a second and one of five
    samples = samples_of((0.0, 3.2), (1.0, 3.2), (0.0, 0.512), (1.0, 3.2), (0.0, 4.8), (1.0, 3.2))

    # When windows are detected
    ((first, second, third),) = regions_of(samples)

    # Then all fits one window: two regions meet in the short pause, and of the long silences little more than a third
    # of a second is left at each end of a region
    assert first == pytest.approx((3.2 - 0.384, 6.656), abs=0.033)
    assert second == pytest.approx((6.656, 10.112 + 0.384), abs=0.033)
    assert third == pytest.approx((14.912 - 0.384, 18.112), abs=0.033)


def test_the_audio_of_a_window_is_that_of_its_regions() -> None:
    # Given speech with silences between
    samples = conversation(7, 30)

    # When windows are detected, then the audio of each is what its regions have in the recording, joined
    for window in find(samples):
        parts = [samples[round(a * SAMPLE_RATE) : round(b * SAMPLE_RATE)] for a, b in window.regions]
        assert np.array_equal(window.samples, np.concatenate(parts))


def test_dictation_with_long_pauses_makes_few_windows() -> None:
    # Given twelve sentences of 3 s with pauses of 3 s between them
    samples = samples_of(*[(1.0, 3.2), (0.0, 3.2)] * 12)

    # When windows are detected
    windows = find(samples)

    # Then they contain several sentences each, and no more audio than is spoken and a little around it
    assert [len(window.regions) for window in windows] == [5, 5, 2]
    assert sum(map(seconds_of, windows)) <= 12 * (3.2 + 0.8)


def test_a_window_ends_in_the_widest_pause_that_its_length_allows() -> None:
    # Given 44 s of speech with a pause at 14 s and shorter ones at 8 s and at 18 s
    samples = samples_of((1.0, 8.0), (0.0, 0.32), (1.0, 6.0), (0.0, 0.48), (1.0, 4.0), (0.0, 0.32), (1.0, 25))

    # When windows are detected
    first, second = regions_of(samples)[:2]

    # Then the cut is in the middle of the pause at 14 s, and nothing is lost between the two
    assert first == [pytest.approx((0.0, 8.16), abs=0.05), pytest.approx((8.16, 14.56), abs=0.05)]
    assert second[0][0] == first[-1][1]


def test_speech_without_any_silence_is_cut_where_it_is_least_like_speech() -> None:
    # Given a minute of unbroken speech with a quieter interval
    speech = np.ones(2000, np.float32)
    speech[500] = 0.6

    # When the first window is requested, then it ends there
    assert [(region.start, region.end) for region in next_window(speech, whole=False)] == [(0, 500)]


def test_of_several_silences_the_longest_is_cut_wherever_it_is() -> None:
    # Given unbroken speech with three short silences in the second half of what fits a window
    for longest in (400, 450, 500):
        speech = np.ones(2000, np.float32)
        speech[550:600] = 0.5  # just speech
        for start in (400, 450, 500):
            speech[start : start + (8 if start == longest else 4)] = 0.4

        # When the first window is requested, then it ends in the middle of the longest one
        assert [region.end for region in next_window(speech, whole=False)] == [longest + 4]


def voiced(length: int, *spoken: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The probabilities of `length` frames, of which the intervals `spoken` are just speech."""
    speech = np.zeros(length, np.float32)
    for first, after in spoken:
        speech[first:after] = 0.5
    return speech


FIRST_WINDOWS: dict[str, tuple[npt.NDArray[np.float32], list[tuple[int, int]]]] = {
    "three frames are a click": (voiced(200, (100, 103)), []),
    "four are speech": (voiced(200, (100, 104)), [(88, 116)]),
    "over a pause of .26 s a region goes on": (voiced(200, (50, 100), (108, 150)), [(38, 162)]),
    "one of .29 s ends it": (voiced(200, (50, 100), (109, 150)), [(38, 104), (104, 162)]),
    "ten seconds, before a region that does not fit": (voiced(2000, (12, 300), (412, 912)), [(0, 312)]),
    "20 s": (voiced(2000, (12, 100), (512, 1001)), [(0, 112), (500, 1013)]),
    "20 s of more": (voiced(2000, (12, 100), (512, 1002)), [(0, 112), (500, 1007)]),
    "it reaches over 90 s": (voiced(3000, (12, 100), (2700, 2800)), [(0, 112), (2688, 2812)]),
    "and not over more": (voiced(3000, (12, 100), (2701, 2801)), [(0, 112)]),
}


@pytest.mark.parametrize(("speech", "regions"), FIRST_WINDOWS.values(), ids=FIRST_WINDOWS)
def test_the_first_window_has_these_regions(speech: npt.NDArray[np.float32], regions: list[tuple[int, int]]) -> None:
    assert [(region.start, region.end) for region in next_window(speech, whole=True)] == regions


@pytest.mark.parametrize(("frames", "complete"), [(2812, False), (2813, True)])
def test_a_word_is_transcribed_when_ninety_seconds_have_passed(frames: int, complete: bool) -> None:
    # Given a word after some silence, and then nothing but silence
    speech = voiced(100 + frames, (112, 150))
    # When 90 s have passed since its region began, then it is a window, though the recording continues
    assert bool(next_window(speech, whole=False)) is complete


def processed(*parts: Samples) -> tuple[list[DetectedWindows], list[Samples]]:
    """What is detected in a recording, and all that the voice detector was given for it."""
    inputs: list[Samples] = []

    def detector(samples: Samples) -> npt.NDArray[np.float32]:
        inputs.append(samples.copy())
        return loudness(samples)

    return list(detect_windows(parts, 0.0, detector)), inputs


def test_the_voice_detector_processes_the_end_of_the_chunk_before() -> None:
    # Given a recording of several chunks
    samples = conversation(3, 40)
    # When it is processed
    _, inputs = processed(samples)
    # Then each chunk but the first was given with the 64 frames before it
    borders = np.cumsum([len(chunk) for chunk in chunks([samples])])[:-1]
    assert len(borders) >= 2
    for chunk, border in zip(inputs[1:], borders, strict=True):
        before = samples[border - 64 * FRAME :]
        assert np.array_equal(chunk, before[: len(chunk)])


def test_the_voice_detector_processes_no_chunk_of_a_long_silence() -> None:
    # Given two minutes of speech, and ten minutes without a sound, as a gap in time stamps gives
    speech, silence = conversation(3, 120)[: 120 * SAMPLE_RATE], np.zeros(600 * SAMPLE_RATE, np.float32)
    # When it is processed, then only the chunks with speech, and that behind them, are given
    detected, inputs = processed(speech, silence)
    assert detected[-1].seconds == pytest.approx(720, abs=0.1)
    assert sum(map(len, inputs)) < (120 + 2 * LATER_CHUNK_S) * SAMPLE_RATE + 64 * FRAME * len(inputs)
    assert all(chunk.any() for chunk in inputs)


def test_a_recording_may_end_within_a_frame() -> None:
    # Given speech to the end of a recording that is no whole number of frames
    samples = np.concatenate([samples_of((0.0, 3.2), (1.0, 3.2)), np.ones(FRAME // 3, np.float32)])

    # When windows are detected, then the last one ends with the recording
    assert regions_of(samples)[-1][-1][1] == pytest.approx(len(samples) / SAMPLE_RATE)


def test_a_word_that_begins_at_the_end_of_a_chunk_has_the_silence_before_it() -> None:
    # Given a word of which the first chunk has three frames
    first = round(FIRST_CHUNK_S * RATE) - 3
    # When windows are detected, then it begins where it does in a recording with other chunks
    ((region,),) = regions_of(samples_of((0.0, first / RATE), (1.0, 2), (0.0, 3)))
    assert region[0] == pytest.approx((first - 12) / RATE)


def test_the_first_window_needs_no_more_than_the_first_chunk() -> None:
    # Given a person who starts to speak after three seconds and does not pause
    samples = samples_of((0, 3), (1, 90))

    # When the first chunk is there
    first = next(detect_windows([samples[at : at + 4096] for at in range(0, len(samples), 4096)], 0.0, loudness))

    # Then there is something to be transcribed
    assert first.windows


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("speech", "silence"), [(6.0, 1.5), (0.7, 0.4), (1.0, 20.0), (25.0, 0.1)])
def test_windows_are_short_and_in_order_and_miss_no_speech(seed: int, speech: float, silence: float) -> None:
    # Given a random alternation of speech and silence
    samples = conversation(seed, 40, speech, silence)

    # When windows are detected
    windows = find(samples)
    pieces = [piece for window in windows for piece in window.regions]

    # Then none has more than 20 s, none reaches over more than 90 s, and regions are in order and do not overlap
    assert all(seconds_of(window) <= MAX_WINDOW_S == 20 for window in windows)
    assert all(window.regions[-1][1] - window.regions[0][0] <= 90 for window in windows)
    assert all(start < end for start, end in pieces)
    assert all(before[1] <= after[0] for before, after in pairwise(pieces))
    # And every loud frame lies in one of them, clicks aside
    assert frames_missed(samples, pieces) <= 3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("speech", "silence"), [(6.0, 1.5), (0.7, 0.4), (1.0, 20.0), (25.0, 0.1)])
def test_resuming_after_any_window_finds_the_same_windows(seed: int, speech: float, silence: float) -> None:
    # Given the windows of an uninterrupted run
    samples = conversation(seed, 20, speech, silence)
    windows = find(samples)

    # When a run resumes where a window ended, with that time rounded to milliseconds as on the wire
    for done, window in enumerate(windows, start=1):
        again = find(samples, start_at=round(window.regions[-1][1], 3))

        # Then it detects exactly those that are left, and their audio
        assert [window.regions for window in again] == [window.regions for window in windows[done:]]
        assert all(np.array_equal(a.samples, b.samples) for a, b in zip(again, windows[done:], strict=True))


@pytest.mark.parametrize(
    "recording",
    [
        samples_of((1.0, 3.2), (0.0, 400)),
        samples_of((1.0, 0.096), (0.0, 400)),
        samples_of(*[(1.0, 1.28), (0.0, 20.0)] * 20),
        samples_of(*[(1.0, 0.064), (0.0, 5.0)] * 80),
        samples_of((1.0, 400)),
    ],
    ids=["a long silence", "a click", "a word now and then", "a click now and then", "a monologue"],
)
def test_little_audio_is_held_whatever_it_is(recording: Samples) -> None:
    # Given a long recording, when it is processed
    detected = list(detect_windows([recording], 0.0, loudness))

    # Then at no time is more held than a window may reach over and a chunk, and so is what is known of the recording
    assert all(window.seconds - window.complete_until <= HELD_S for window in detected)
