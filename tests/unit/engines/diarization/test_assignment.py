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
PEOPLE = np.eye(EMBEDDING_SIZE, dtype=np.float32)[:3]  # the centroids of three speakers

Speech = list[tuple[int, int, int]]  # what was detected in these frames: a local speaker or a person, from, to


def assigned(voices: Speech, people: Speech, alone: dict[int, np.ndarray] | None = None) -> np.ndarray:
    """Who owns the local speakers (frames, local speakers) of one window, in which these people speak.

    `alone` has the embeddings of local speakers that never speak alone.
    """
    activity = np.zeros((1, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)
    for voice, start, end in voices:
        activity[0, start:end, voice] = 255
    embeddings = [
        Embedding(start, end, quantized(sum(PEOPLE[who] * max(0, min(b, end) - max(a, start)) for who, a, b in people)))
        for start, end in embedding_spans(activity > 0, WINDOW_FRAMES)
    ]
    overlapped = [LocalSpeaker(0, voice, quantized(values)) for voice, values in (alone or {}).items()]
    chunk = ChunkAnalysis(0, activity, embeddings, overlapped)
    assignment: np.ndarray = assign_speakers([chunk], collect_embeddings([chunk]), PEOPLE)[0]
    return assignment


def test_a_local_speaker_belongs_to_the_speaker_whom_it_is_like() -> None:
    # Given two local speakers of two people who take turns
    speech = [(0, 50, 250), (1, 300, 500)]
    assignment = assigned(speech, [(2, 50, 250), (0, 300, 500)])

    # Then each local speaker has its speaker, in the pauses too, and a third local speaker has none
    assert (assignment[:, 0] == 2).all()
    assert (assignment[:, 1] == 0).all()
    assert (assignment[:, 2] == UNASSIGNED).all()


def test_two_people_who_are_detected_as_one_local_speaker_are_parted_at_the_pause_between_them() -> None:
    # Given one local speaker that is two people, who take turns of three seconds
    pauses = [(0, 20, 190), (0, 210, 380), (0, 400, 570)]
    assignment = assigned(pauses, [(0, 20, 190), (1, 210, 380), (0, 400, 570)])[:, 0]

    # Then each has their turn
    assert (assignment[20:190] == 0).all()
    assert (assignment[210:380] == 1).all()
    assert (assignment[400:570] == 0).all()


def test_two_people_who_are_detected_as_one_local_speaker_are_parted_without_a_pause_too() -> None:
    # Given one local speaker that passes from one person to another in the middle of it
    assignment = assigned([(0, 50, 450)], [(0, 50, 250), (1, 250, 450)])[:, 0]

    # Then it changes within a third of a second of that time
    assert (assignment[50 : 250 - SECOND // 3] == 0).all()
    assert (assignment[250 + SECOND // 3 : 450] == 1).all()


@pytest.mark.parametrize(("pause", "owner"), [(0, 0), (11, 0), (12, 1)])
def test_a_short_resemblance_to_another_person_counts_only_between_pauses(pause: int, owner: int) -> None:
    # Given a local speaker that resembles another person for a moment, with pauses of so many frames
    before, behind = 240 - pause, 262 + pause
    assignment = assigned(
        [(0, 50, before), (0, 240, 262), (0, behind, 450)], [(0, 50, before), (1, 240, 262), (0, behind, 450)]
    )[:, 0]

    # Then only after a pause of 0.2 s another person may continue
    assert set(assignment[240:262]) == {owner}
    assert (assignment[50:before] == 0).all()
    assert (assignment[behind:450] == 0).all()


def test_a_word_between_pauses_that_may_be_of_two_people_is_of_whom_was_detected_before() -> None:
    # Given a local speaker of one person, but for half a second between pauses that is like two, a bit more the other
    assignment = assigned(
        [(0, 20, 190), (0, 210, 240), (0, 260, 430)], [(0, 20, 190), (0, 211, 240), (1, 210, 240), (0, 260, 430)]
    )[:, 0]

    # Then it is one person's
    assert (assignment == 0).all()


def test_where_two_speak_at_once_they_are_two() -> None:
    # Given a person who talks into what another says, and is known only from there
    assignment = assigned([(0, 50, 450), (1, 200, 260)], [(0, 50, 450)], alone={1: 0.6 * PEOPLE[0] + 0.5 * PEOPLE[2]})

    # Then that local speaker belongs to another person, though the first is detected in it more
    assert (assignment[50:450, 0] == 0).all()
    assert (assignment[200:260, 1] == 2).all()


@pytest.mark.parametrize(("frames", "owner"), [(25, 2), (6, 2), (5, UNASSIGNED)])
def test_an_interjection_belongs_to_the_speaker_whom_it_resembles(frames: int, owner: int) -> None:
    # Given a word of the third person while the first speaks, or less than a tenth of a second
    assignment = assigned([(0, 50, 450), (1, 200, 200 + frames)], [(0, 50, 450)], alone={1: PEOPLE[2]})
    assert (assignment[200 : 200 + frames, 1] == owner).all()


@pytest.mark.parametrize("people", [0, 1])
def test_nobody_owns_what_is_like_nobody(people: int) -> None:
    # Given a recording without speakers, or a local speaker that has no embedding
    activity = np.zeros((1, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)
    activity[0, 50:60, 0] = 255
    chunk = ChunkAnalysis(0, activity, [], [])

    # When local speakers are assigned, then there are none
    assert (assign_speakers([chunk], collect_embeddings([chunk]), PEOPLE[:people]) == UNASSIGNED).all()


def test_a_frame_is_most_like_the_embedding_in_whose_middle_it_is() -> None:
    # Given one local speaker, and an embedding of each of two people, which overlap
    activity = np.zeros((1, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)
    activity[0, 100:233, 0] = 255
    chunk = ChunkAnalysis(
        0, activity, [Embedding(at, at + 89, quantized(PEOPLE[who])) for at, who in ((100, 0), (144, 1))], []
    )

    # When local speakers are assigned, then the change is half way between their middles, within 0.25 s
    assignment = assign_speakers([chunk], collect_embeddings([chunk]), PEOPLE)[0, :, 0]
    assert set(assignment[100:152]) == {0}
    assert set(assignment[181:233]) == {1}


def test_a_local_speaker_of_the_next_window_belongs_to_the_same_person() -> None:
    # Given two windows that overlap: the second person of the first one is the first local speaker of the second one
    activity = np.zeros((2, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)
    activity[0, 50:250, 0] = activity[0, 300:500, 1] = 255
    activity[1, 300 - STEP_FRAMES : 500 - STEP_FRAMES, 0] = activity[1, : 250 - STEP_FRAMES, 1] = 255
    embeddings = [Embedding(at, at + 89, quantized(PEOPLE[who])) for at, who in ((50, 0), (150, 0), (300, 1), (400, 1))]
    chunk = ChunkAnalysis(0, activity, embeddings, [])

    # When their local speakers are assigned
    assignment = assign_speakers([chunk], collect_embeddings([chunk]), PEOPLE)

    # Then each window knows them by speech detected at its own time
    assert set(assignment[0, 50:250, 0]) == {0}
    assert set(assignment[0, 300:500, 1]) == {1}
    assert set(assignment[1, 300 - STEP_FRAMES : 500 - STEP_FRAMES, 0]) == {1}
    assert set(assignment[1, : 250 - STEP_FRAMES, 1]) == {0}
