import numpy as np
import pytest

from app.engines.diarization.assignment import UNASSIGNED, assign_speakers
from app.engines.diarization.chunk_analysis import (
    EMBEDDING_SIZE,
    LOCAL_SPEAKERS,
    ChunkAnalysis,
    Embedding,
    LocalSpeaker,
    quantized,
)
from app.engines.diarization.regions import embedding_spans
from app.engines.diarization.speakers import collect_embeddings
from app.engines.diarization.windows import STEP_FRAMES, WINDOW_FRAMES

SECOND = 59  # frames
PEOPLE = np.eye(EMBEDDING_SIZE, dtype=np.float32)[:3]  # the centres of three speakers

Said = list[tuple[int, int, int]]  # what was heard in these frames: a voice or a person, from, to


def heard(voices: Said, people: Said, alone: dict[int, np.ndarray] | None = None) -> np.ndarray:
    """Who owns the voices (frames, voices) of one window, in which these people speak.

    `alone` has the embeddings of voices that never speak alone.
    """
    activity = np.zeros((1, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)
    for voice, start, end in voices:
        activity[0, start:end, voice] = 255
    cut = [
        Embedding(start, end, quantized(sum(PEOPLE[who] * max(0, min(b, end) - max(a, start)) for who, a, b in people)))
        for start, end in embedding_spans(activity > 0, WINDOW_FRAMES)
    ]
    own = [LocalSpeaker(0, voice, quantized(values)) for voice, values in (alone or {}).items()]
    chunk = ChunkAnalysis(0, activity, cut, own)
    found: np.ndarray = assign_speakers([chunk], collect_embeddings([chunk]), PEOPLE)[0]
    return found


def test_a_voice_belongs_to_the_speaker_whom_it_is_like() -> None:
    # Given two voices of two people who take turns
    said = [(0, 50, 250), (1, 300, 500)]
    found = heard(said, [(2, 50, 250), (0, 300, 500)])

    # Then each voice has its speaker, in the pauses too, and a third voice has none
    assert (found[:, 0] == 2).all()
    assert (found[:, 1] == 0).all()
    assert (found[:, 2] == UNASSIGNED).all()


def test_two_people_who_are_heard_as_one_voice_are_parted_at_the_pause_between_them() -> None:
    # Given one voice that is two people, who take turns of three seconds
    pauses = [(0, 20, 190), (0, 210, 380), (0, 400, 570)]
    found = heard(pauses, [(0, 20, 190), (1, 210, 380), (0, 400, 570)])[:, 0]

    # Then each has their turn
    assert (found[20:190] == 0).all()
    assert (found[210:380] == 1).all()
    assert (found[400:570] == 0).all()


def test_two_people_who_are_heard_as_one_voice_are_parted_without_a_pause_too() -> None:
    # Given one voice that passes from one person to another in the middle of it
    found = heard([(0, 50, 450)], [(0, 50, 250), (1, 250, 450)])[:, 0]

    # Then it passes within a third of a second of that place
    assert (found[50 : 250 - SECOND // 3] == 0).all()
    assert (found[250 + SECOND // 3 : 450] == 1).all()


@pytest.mark.parametrize(("pause", "owner"), [(0, 0), (11, 0), (12, 1)])
def test_a_moment_that_sounds_like_somebody_else_is_theirs_only_between_pauses(pause: int, owner: int) -> None:
    # Given a voice in which a moment is like another person, with a pause of so many frames before and behind it
    before, behind = 240 - pause, 262 + pause
    found = heard(
        [(0, 50, before), (0, 240, 262), (0, behind, 450)], [(0, 50, before), (1, 240, 262), (0, behind, 450)]
    )[:, 0]

    # Then only after a pause of .2 s another person may go on
    assert set(found[240:262]) == {owner}
    assert (found[50:before] == 0).all()
    assert (found[behind:450] == 0).all()


def test_a_word_between_pauses_that_may_be_of_two_people_is_of_whom_was_heard_before() -> None:
    # Given a voice that is one person, but for half a second between pauses that is like two, a little more the other
    found = heard(
        [(0, 20, 190), (0, 210, 240), (0, 260, 430)], [(0, 20, 190), (0, 211, 240), (1, 210, 240), (0, 260, 430)]
    )[:, 0]

    # Then it is one person's
    assert (found == 0).all()


def test_where_two_speak_at_once_they_are_two() -> None:
    # Given somebody who talks into what another says, and is known only from there
    found = heard([(0, 50, 450), (1, 200, 260)], [(0, 50, 450)], alone={1: 0.6 * PEOPLE[0] + 0.5 * PEOPLE[2]})

    # Then that voice is somebody else's, though the first is heard in it more
    assert (found[50:450, 0] == 0).all()
    assert (found[200:260, 1] == 2).all()


@pytest.mark.parametrize(("frames", "owner"), [(25, 2), (6, 2), (5, UNASSIGNED)])
def test_a_word_into_what_somebody_says_belongs_to_whom_it_is_like(frames: int, owner: int) -> None:
    # Given a word of the third person while the first speaks, or less than a tenth of a second
    found = heard([(0, 50, 450), (1, 200, 200 + frames)], [(0, 50, 450)], alone={1: PEOPLE[2]})
    assert (found[200 : 200 + frames, 1] == owner).all()


@pytest.mark.parametrize("people", [0, 1])
def test_nobody_owns_what_is_like_nobody(people: int) -> None:
    # Given a recording without speakers, or a voice that has no embedding
    activity = np.zeros((1, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)
    activity[0, 50:60, 0] = 255
    chunk = ChunkAnalysis(0, activity, [], [])

    # When owners are found, then there are none
    assert (assign_speakers([chunk], collect_embeddings([chunk]), PEOPLE[:people]) == UNASSIGNED).all()


def test_a_frame_is_most_like_the_embedding_in_whose_middle_it_is() -> None:
    # Given one voice, and an embedding of each of two people, which overlap
    activity = np.zeros((1, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)
    activity[0, 100:233, 0] = 255
    chunk = ChunkAnalysis(
        0, activity, [Embedding(at, at + 89, quantized(PEOPLE[who])) for at, who in ((100, 0), (144, 1))], []
    )

    # When owners are found, then the voice passes half way between their middles, within a quarter of a second
    found = assign_speakers([chunk], collect_embeddings([chunk]), PEOPLE)[0, :, 0]
    assert set(found[100:152]) == {0}
    assert set(found[181:233]) == {1}


def test_a_voice_of_the_next_window_belongs_to_the_same_person() -> None:
    # Given two windows that overlap: the second person of the first one is the first voice of the second one
    activity = np.zeros((2, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)
    activity[0, 50:250, 0] = activity[0, 300:500, 1] = 255
    activity[1, 300 - STEP_FRAMES : 500 - STEP_FRAMES, 0] = activity[1, : 250 - STEP_FRAMES, 1] = 255
    cut = [Embedding(at, at + 89, quantized(PEOPLE[who])) for at, who in ((50, 0), (150, 0), (300, 1), (400, 1))]
    chunk = ChunkAnalysis(0, activity, cut, [])

    # When their owners are found
    found = assign_speakers([chunk], collect_embeddings([chunk]), PEOPLE)

    # Then each window knows them by what is heard at its own time
    assert set(found[0, 50:250, 0]) == {0}
    assert set(found[0, 300:500, 1]) == {1}
    assert set(found[1, 300 - STEP_FRAMES : 500 - STEP_FRAMES, 0]) == {1}
    assert set(found[1, : 250 - STEP_FRAMES, 1]) == {0}
