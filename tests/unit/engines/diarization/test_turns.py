import numpy as np
import pytest

from app.engines.diarization.assignment import UNASSIGNED
from app.engines.diarization.chunk_analysis import LOCAL_SPEAKERS, ChunkAnalysis
from app.engines.diarization.turns import turns
from app.engines.diarization.windows import STEP_FRAMES, WINDOW_FRAMES, WINDOWS_PER_CHUNK

FRAME = 270 / 16_000  # seconds

Speech = list[tuple[int, float, float]]  # speaker, from, to


def recording(seconds: float, speech: Speech, speakers: int = 2) -> tuple[list[ChunkAnalysis], np.ndarray]:
    """What a perfect network finds: local speaker n of each window is speaker n."""
    windows = max(1, int(np.ceil((seconds - 10) / (STEP_FRAMES * FRAME))) + 1)
    everything = np.zeros(((windows - 1) * STEP_FRAMES + WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)
    for speaker, start, end in speech:
        everything[round(start / FRAME) : round(end / FRAME), speaker] = 255
    activity = np.stack([everything[n * STEP_FRAMES :][:WINDOW_FRAMES] for n in range(windows)])
    cuts = range(0, windows, WINDOWS_PER_CHUNK)
    owners = np.array(
        [[[n if n < speakers else UNASSIGNED for n in range(LOCAL_SPEAKERS)]] * WINDOW_FRAMES] * windows, np.int16
    )
    return [
        ChunkAnalysis(n, activity[first : first + WINDOWS_PER_CHUNK], [], []) for n, first in enumerate(cuts)
    ], owners


def turns_in(seconds: float, speech: Speech, speakers: int = 2) -> list[tuple[str, float, float]]:
    return turns_of(*recording(seconds, speech, speakers), seconds)


def turns_of(chunks: list[ChunkAnalysis], owners: np.ndarray, seconds: float) -> list[tuple[str, float, float]]:
    return [(t.speaker, t.start, t.end) for t in turns(chunks, owners, seconds)]


def about(*expected: tuple[str, float, float]) -> object:
    return [(speaker, pytest.approx(start, abs=0.05), pytest.approx(end, abs=0.05)) for speaker, start, end in expected]


@pytest.mark.parametrize("seconds", [12, 61, 200])
def test_turns_are_where_speakers_speak_however_long(seconds: int) -> None:
    # Given a turn at the beginning, a long one through the middle, and one at the end that overlaps with it
    speech = [(0, 0.5, 3.0), (1, 4.0, seconds - 2.0), (0, seconds - 3.0, seconds - 0.5)]

    # When turns are built, then they are those, in one piece each
    assert turns_in(seconds, speech) == about(
        ("SPEAKER_00", 0.5, 3.0),
        ("SPEAKER_01", 4.0, seconds - 2.0),
        ("SPEAKER_00", seconds - 3.0, seconds - 0.5),
    )


def test_speakers_are_numbered_by_first_appearance() -> None:
    # Given that the second speaker speaks first, when turns are built, then that one is SPEAKER_00
    assert [speaker for speaker, _, _ in turns_in(12, [(1, 1, 2), (0, 3, 4), (1, 5, 6)])] == [
        "SPEAKER_00",
        "SPEAKER_01",
        "SPEAKER_00",
    ]


@pytest.mark.parametrize("seconds", [7.0, 8.021])
def test_no_turn_ends_after_the_recording_or_begins_there(seconds: float) -> None:
    # Given a network that finds speech in the silence after a recording
    chunks, owners = recording(7, [(0, 6.0, 9.0), (1, 8.0, 9.0)])

    # When turns are built, then they end with it
    assert [(speaker, end) for speaker, _, end in turns_of(chunks, owners, seconds)] == [("SPEAKER_00", seconds)]


def test_a_breath_is_no_pause_and_a_click_no_turn() -> None:
    # Given a turn with a gap of 0.1 s, one of twelve frames and one of eleven, and audio of 0.05 s
    speech = [(0, 1.0, 2.0), (0, 2.1, 3.0), (0, 3 + 12 * FRAME, 4.5), (0, 4.5 + 11 * FRAME, 5.5), (1, 8.0, 8.05)]

    # When turns are built, then the short gaps are filled, and the click is gone
    assert turns_in(12, speech) == about(("SPEAKER_00", 1.0, 3.0), ("SPEAKER_00", 3.2, 5.5))


def test_a_local_speaker_of_nobody_makes_no_turn() -> None:
    # Given a local speaker that belongs to no speaker, and no other; then with another person
    assert turns_in(12, [(1, 1, 5)], speakers=0) == []
    assert turns_in(12, [(1, 1, 5), (0, 6, 8)], speakers=1) == about(("SPEAKER_00", 6, 8))


def test_windows_that_disagree_are_outvoted() -> None:
    # Given speech in the middle of a recording that one of the windows there missed
    chunks, owners = recording(20, [(0, 8.0, 9.9)])
    chunks[0].activity[2] = 0

    # When turns are built, then the others decide
    (turn,) = turns(chunks, owners, 20.0)
    assert (turn.start, turn.end) == pytest.approx((8, 9.9), abs=0.05)


def test_two_windows_that_lean_one_way_outvote_one_that_is_sure() -> None:
    # Given speech that one window surely gives to the second speaker, and two rather to the first
    chunks, owners = recording(20, [(0, 8.5, 9.5)])
    chunks[0].activity[0:3, :, 1] = chunks[0].activity[0:3, :, 0] // 5 * 2
    chunks[0].activity[0:3, :, 0] = chunks[0].activity[0:3, :, 0] // 5 * 3
    chunks[0].activity[1] = np.where(chunks[0].activity[1] > 0, [0, 255, 0], 0)

    # When turns are built, then the first speaker has them, and the second has none
    assert [turn.speaker for turn in turns(chunks, owners, 20.0)] == ["SPEAKER_00"]
    assert (owners[0, 0] == [0, 1, UNASSIGNED]).all()


def test_two_windows_in_doubt_do_not_outvote_one_that_is_sure() -> None:
    # Given speech that two windows probably detect, and that one surely does not detect
    chunks, owners = recording(20, [(0, 8.5, 9.5)])
    chunks[0].activity[0:3] = chunks[0].activity[0:3] // 255 * 135
    chunks[0].activity[1] = 0

    # When turns are built, then there is none
    assert turns_of(chunks, owners, 20.0) == []


def test_a_window_counts_less_near_its_edges() -> None:
    # Given two windows: only the second detects a person where it begins, only the first where it ends
    chunks, owners = recording(13.7, [(0, 4.0, 5.0), (1, 9.0, 9.9)])
    assert len(owners) == 2
    chunks[0].activity[0, :, 0] = 0
    chunks[0].activity[1, :, 1] = 0

    # When turns are built, then the other one decides, which detects more on both sides
    assert turns_of(chunks, owners, 13.7) == []


def test_where_one_speaks_it_is_the_most_probable_one() -> None:
    # Given three speakers one after the other, and at the second one's time less probably the third one
    chunks, owners = recording(10, [(0, 1.0, 3.0), (1, 4.0, 6.0), (2, 4.0, 6.0), (2, 7.0, 9.0)], speakers=3)
    second = slice(round(4 / FRAME), round(6 / FRAME))
    chunks[0].activity[0, second, 1] = 153
    chunks[0].activity[0, second, 2] = 102

    # When turns are built, then each has a turn
    assert turns_of(chunks, owners, 10.0) == about(
        ("SPEAKER_00", 1.0, 3.0), ("SPEAKER_01", 4.0, 6.0), ("SPEAKER_02", 7.0, 9.0)
    )


def test_a_turn_begins_behind_what_the_network_reads_before_a_frame() -> None:
    # Given speech from frame 100 to frame 200, when turns are built
    ((_, start, end),) = turns_in(12, [(0, 100 * FRAME, 200 * FRAME)])

    # Then their times are those of the samples in the middle of what the network reads for these frames
    assert (start, end) == (round((100 * 270 + 360) / 16_000, 3), round((200 * 270 + 360) / 16_000, 3))


def test_windows_are_outvoted_across_chunks_too() -> None:
    # Given speech where the second chunk begins, which the first window there missed and those before did not
    begin = WINDOWS_PER_CHUNK * STEP_FRAMES * FRAME
    chunks, owners = recording(70, [(0, begin + 0.5, begin + 2.5)])
    chunks[1].activity[0] = 0

    # When turns are built, then the speech is there
    (turn,) = turns(chunks, owners, 70.0)
    assert (turn.start, turn.end) == pytest.approx((begin + 0.5, begin + 2.5), abs=0.05)


def test_two_local_speakers_of_one_speaker_are_no_two_speakers() -> None:
    # Given two local speakers at once that belong to one speaker, and another speaker who is only faint
    chunks, owners = recording(12, [(0, 1, 3), (1, 1, 3), (2, 1, 3)], speakers=3)
    chunks[0].activity[:, :, 2] //= 8
    owners[..., 1], owners[..., 2] = 0, 1

    # When turns are built, then one speaker speaks
    assert {turn.speaker for turn in turns(chunks, owners, 12.0)} == {"SPEAKER_00"}


@pytest.mark.parametrize(
    ("frames", "pause", "is_merged"), [(20, -3, True), (29, 6, True), (30, 6, False), (29, 7, False), (30, -3, False)]
)
def test_a_scrap_that_runs_into_a_turn_is_its_beginning(frames: int, pause: int, is_merged: bool) -> None:
    # Given a moment of one speaker, which runs into a turn of another, or nearly does, and an isolated one
    end, begin = 5 + frames * FRAME, 5 + (frames + pause) * FRAME
    speech = [(0, 1.0, 3.0), (0, 5.0, end), (1, begin, 8.0), (0, 9.0, 9.35)]

    # When turns are built, then less than half a second is the other's, and the second scrap stays
    both = [("SPEAKER_01", 5.0, 8.0)] if is_merged else [("SPEAKER_00", 5.0, end), ("SPEAKER_01", begin, 8.0)]
    assert turns_in(12, speech) == about(("SPEAKER_00", 1.0, 3.0), *both, ("SPEAKER_00", 9.0, 9.35))


def test_a_short_interjection_stays() -> None:
    # Given a third of a second of one speaker in the middle of another's turn, when turns are built, then it is a turn
    speech = [(0, 1.0, 3.0), (1, 4.0, 8.0), (0, 5.0, 5.35)]
    assert turns_in(12, speech) == about(("SPEAKER_00", 1.0, 3.0), ("SPEAKER_01", 4.0, 8.0), ("SPEAKER_00", 5.0, 5.35))


@pytest.mark.parametrize("end", [5.38, 5.45])
def test_a_word_within_a_word_changes_nothing(end: float) -> None:
    # Given a third of a second of one speaker, and within it less of another, when turns are built, then both stay
    speech = [(0, 1.0, 3.0), (0, 5.0, 5.45), (1, 5.1, end)]
    assert [speaker for speaker, _, _ in turns_in(12, speech)] == ["SPEAKER_00", "SPEAKER_00", "SPEAKER_01"]


def test_a_local_speaker_may_be_of_two_speakers_one_after_the_other() -> None:
    # Given one local speaker that passes from the first speaker to the second in the middle
    chunks, owners = recording(12, [(0, 1.0, 9.0)], speakers=2)
    for number in range(len(owners)):
        owners[number, round(5 / FRAME) - number * STEP_FRAMES :, 0] = 1

    # When turns are built, then each speaker has a half
    assert turns_of(chunks, owners, 12.0) == about(("SPEAKER_00", 1.0, 5.0), ("SPEAKER_01", 5.0, 9.0))


@pytest.mark.parametrize("begin", [4.9, 5.0])
def test_turns_of_one_speaker_neither_overlap_nor_touch(begin: float) -> None:
    # Given a scrap of the second speaker between two turns of the first, which its beginning becomes
    speech = [(0, 1.0, 5.0), (1, begin, 5.2), (0, 5.25, 9.0)]

    # When turns are built, then the first speaker has one turn
    assert turns_in(12, speech) == about(("SPEAKER_00", 1.0, 9.0))


@pytest.mark.parametrize(("seconds", "overlaps"), [(3.0, True), (1.5, False)])
def test_overlapping_speech_that_one_window_detects_counts_if_it_is_long(seconds: float, overlaps: bool) -> None:
    # Given a second speaker in the middle of a long turn, whom only one of the windows there detects
    chunks, owners = recording(20, [(0, 1.0, 19.0), (1, 8.0, 8.0 + seconds)])
    chunks[0].activity[[0, 1], :, 1] = 0

    # When turns are built, then the second speaker has one if it is long
    second = [("SPEAKER_01", 8.0, 8.0 + seconds)] if overlaps else []
    assert turns_in(20, [(0, 1.0, 19.0)]) == about(("SPEAKER_00", 1.0, 19.0))
    assert turns_of(chunks, owners, 20.0) == about(("SPEAKER_00", 1.0, 19.0), *second)
