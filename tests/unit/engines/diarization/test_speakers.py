from collections.abc import Sequence

import numpy as np
import pytest

from app.engines.diarization import speakers
from app.engines.diarization.chunk_analysis import (
    EMBEDDING_SIZE,
    LOCAL_SPEAKERS,
    ChunkAnalysis,
    Embedding,
    LocalSpeaker,
    quantized,
)
from app.engines.diarization.regions import MAX_EMBEDDING_FRAMES
from app.engines.diarization.speakers import Embeddings, SpeakerBounds, collect_embeddings, smoothed, speaker_centroids
from app.engines.diarization.windows import STEP_FRAMES, WINDOW_FRAMES, WINDOWS_PER_CHUNK

ANY = SpeakerBounds(None, None)
SECOND = 59  # frames

Speech = Sequence[tuple[np.ndarray, int]]  # an embedding, and how many frames it was computed from


def similar_voice(person: int, *, but: float = 0.0, seed: int = 0) -> np.ndarray:
    """An embedding of this person, with so much of something else in it."""
    other = np.random.default_rng(seed).normal(size=EMBEDDING_SIZE)
    values: np.ndarray = (np.eye(EMBEDDING_SIZE)[person] + but * other / np.linalg.norm(other)).astype(np.float32)
    return values


def speech_of(person: int, embeddings: int, *, but: float = 0.8) -> list[tuple[np.ndarray, int]]:
    """Embeddings of 1.5 s of one person, which are never quite equal."""
    return [(similar_voice(person, but=but, seed=1000 * person + n), MAX_EMBEDDING_FRAMES) for n in range(embeddings)]


def recording(speech: Speech, index: int = 0) -> ChunkAnalysis:
    """A chunk with these embeddings, one after the other."""
    ends = np.cumsum([frames for _, frames in speech]).tolist()
    embeddings = [
        Embedding(end - frames, end, quantized(values)) for end, (values, frames) in zip(ends, speech, strict=True)
    ]
    return ChunkAnalysis(index, np.zeros((1, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8), embeddings, [])


def centroids_of(*chunks: ChunkAnalysis, bounds: SpeakerBounds = ANY) -> np.ndarray:
    return speaker_centroids(collect_embeddings(chunks), chunks, bounds)


def most_similar(speakers: np.ndarray, person: int) -> int:
    """The speaker who is most like a person, and surely is that person."""
    assert (speakers @ np.eye(EMBEDDING_SIZE)[person]).max() > 0.8
    return int((speakers @ np.eye(EMBEDDING_SIZE)[person]).argmax())


@pytest.mark.parametrize("but", [0.8, 1.4])
def test_similar_embeddings_are_of_one_speaker(but: float) -> None:
    # Given two people who take turns, with embeddings that are never quite equal, when they are clustered
    speakers = centroids_of(recording([part for person in (0, 1, 0, 1) for part in speech_of(person, 4, but=but)]))

    # Then they are two, each like one of the people
    assert len(speakers) == 2
    assert most_similar(speakers, 0) != most_similar(speakers, 1)


def test_a_person_whose_way_of_speaking_changes_is_one_speaker() -> None:
    # Given a person who speaks in two ways, as in two languages: embeddings of both are far from each other
    one = [(values, frames) for values, frames in speech_of(0, 20)]
    other = [(values + 0.6 * similar_voice(9), frames) for values, frames in speech_of(0, 20)]
    distance = 1 - float(
        speakers.normalized(np.array([one[0][0]]))[0] @ speakers.normalized(np.array([other[7][0]]))[0]
    )
    assert distance > 0.4

    # When speakers are found, then there is one
    assert len(centroids_of(recording([*one, *other]))) == 1


def test_a_speaker_is_known_again_in_another_chunk() -> None:
    # Given two chunks in which the same two people speak, when speakers are found, then they are two
    first, second = recording([*speech_of(0, 4), *speech_of(1, 4)]), recording([*speech_of(1, 4), *speech_of(0, 4)], 1)
    assert len(centroids_of(first, second)) == 2
    assert collect_embeddings([first, second]).starts[8] == WINDOWS_PER_CHUNK * STEP_FRAMES


def test_a_voice_of_a_moment_makes_no_speaker_of_its_own() -> None:
    # Given a speaker who speaks for a long time, and a cough unlike them, when speakers are found, then there is one
    assert len(centroids_of(recording([*speech_of(0, 20), (similar_voice(1), SECOND // 2)]))) == 1


def test_who_speaks_for_a_fiftieth_is_none_but_in_a_short_recording_is_a_speaker() -> None:
    # Given a person who says one sentence of 1.5 s
    sentence = [(similar_voice(1), MAX_EMBEDDING_FRAMES)]

    # When there is much other speech, then they are given to the others; when there is little, they are a speaker
    assert len(centroids_of(recording([*speech_of(0, 100), *sentence]))) == 1
    assert len(centroids_of(recording([*speech_of(0, 10), *sentence]))) == 2


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((None, None), 2),
        ((1, 1), 1),
        ((None, 1), 1),
        ((2, 2), 2),
        ((3, None), 2),
        ((9, 9), 2),
        ((2, 5), 2),
    ],
)
def test_bounds_are_respected_as_far_as_people_can_be_distinguished(
    bounds: tuple[int | None, int | None], expected: int
) -> None:
    # Given two people, one of whom varies more
    chunk = recording([*speech_of(0, 20, but=0.3), *speech_of(1, 20)])

    # When this number of speakers is requested, then it is found, and no person is split
    assert len(centroids_of(chunk, bounds=SpeakerBounds(*bounds))) == expected


def test_of_a_number_a_cough_is_not_one() -> None:
    # Given two people with very similar voices, so that they are taken for one, and short audio that is like neither
    other = similar_voice(0) + 1.3 * similar_voice(1)
    alike = [
        *speech_of(0, 8, but=0.2),
        *((other, MAX_EMBEDDING_FRAMES) for _ in range(8)),
        (similar_voice(2), SECOND // 2),
    ]
    assert len(centroids_of(recording(alike))) == 1

    # When two speakers are requested, then they are the two people
    two = centroids_of(recording(alike), bounds=SpeakerBounds(2, 2))
    assert len(two) == 2
    assert np.abs(two @ similar_voice(2)).max() < 0.2


def test_of_a_number_those_are_two_who_are_least_similar() -> None:
    # Given two pairs of people with similar voices, of whom the latter do more
    one, other = similar_voice(0), similar_voice(2)
    people = [one, one + 1.35 * similar_voice(1), other, other + 1.25 * similar_voice(3)]
    alike = recording([(values, MAX_EMBEDDING_FRAMES) for values in people for _ in range(8)])
    assert len(centroids_of(alike)) == 2

    # When three speakers are requested, then the latter are still one
    three = centroids_of(alike, bounds=SpeakerBounds(3, 3))
    assert len(three) == 3
    assert (three @ speakers.normalized(np.array([1.6 * other + people[3]]))[0]).max() > 0.95


def test_who_speaks_too_little_to_be_a_speaker_is_one_where_a_number_wants_it() -> None:
    # Given a person who speaks for a long time, and another person's single sentence
    speech = [*speech_of(0, 100), (similar_voice(1), MAX_EMBEDDING_FRAMES)]
    assert len(centroids_of(recording(speech))) == 1

    # When two speakers are requested, then both are found; when three, no person is split
    assert most_similar(centroids_of(recording(speech), bounds=SpeakerBounds(2, 2)), 1) == 1
    assert len(centroids_of(recording(speech), bounds=SpeakerBounds(3, 3))) == 2


def test_more_embeddings_than_are_clustered_come_from_all_over_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two people, the second of whom speaks late, and few embeddings that may be clustered
    monkeypatch.setattr(speakers, "_MAX_CLUSTERED", 8)

    # When speakers are found, then both are
    assert len(centroids_of(recording([*speech_of(0, 40, but=0.3), *speech_of(1, 20, but=0.3)]))) == 2


def test_who_never_speaks_alone_is_still_a_speaker() -> None:
    # Given a voice that is detected only together with others
    voices = [LocalSpeaker(0, 0, quantized(similar_voice(0)))]
    chunk = ChunkAnalysis(0, np.zeros((1, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8), [], voices)

    # When speakers are found, then it is one
    assert most_similar(centroids_of(chunk), 0) == 0


def test_people_who_only_speak_for_moments_are_distinguished() -> None:
    # Given two people, all of whose embeddings are short
    short = [(values, 43) for values, _ in [*speech_of(0, 6, but=0.3), *speech_of(1, 6, but=0.3)]]

    # When speakers are found, then they are two
    assert len(centroids_of(recording(short))) == 2


@pytest.mark.parametrize(("moments", "people"), [(5, 1), (6, 2)])
def test_moments_count_only_if_they_are_most_of_the_speech(moments: int, people: int) -> None:
    # Given three seconds of one person, and moments of another one: half of all speech, or more
    speech = [*[(similar_voice(0), 45)] * 4, *[(similar_voice(1), 36)] * moments]
    assert len(centroids_of(recording(speech))) == people
    # And if there are fewer embeddings than speakers are wanted, a moment counts, too
    assert len(centroids_of(recording(speech), bounds=SpeakerBounds(5, 5))) == 2


def test_where_nobody_speaks_there_are_no_speakers() -> None:
    assert len(centroids_of(recording([]))) == 0


@pytest.mark.parametrize(("seconds", "maximum", "expected"), [(3.0, None, 2), (0.5, None, 1), (3.0, 1, 1)])
def test_who_speaks_only_while_the_only_speaker_does_is_another_speaker(
    seconds: float, maximum: int | None, expected: int
) -> None:
    # Given a person who speaks for a long time, and another local speaker at the same time, whose embedding has both
    chunk = recording(speech_of(0, 20))
    chunk.activity[0, :, 0] = 255
    chunk.activity[0, : round(seconds * SECOND), 1] = 255
    both = LocalSpeaker(0, 1, quantized(similar_voice(0) + similar_voice(1)))
    chunk = ChunkAnalysis(0, chunk.activity, chunk.embeddings, [both])

    # When speakers are found, then the other one is a speaker if speaking long enough, and as far as the bounds allow
    assert len(centroids_of(chunk, bounds=SpeakerBounds(None, maximum))) == expected


@pytest.mark.parametrize(("of_channel", "expected"), [(False, 2), (True, 1)])
def test_in_one_of_several_channels_similar_voices_are_rather_one_person(of_channel: bool, expected: int) -> None:
    # Given two ways of speaking, each of which varies, and whose centroids are 0.5 apart
    one = speech_of(0, 20)
    other = [
        (values - 0.5 * similar_voice(0) + np.float32(np.sqrt(0.75)) * similar_voice(1), frames)
        for values, frames in [(similar_voice(0, but=0.8, seed=2000 + n), MAX_EMBEDDING_FRAMES) for n in range(20)]
    ]

    # When speakers are found, then they are two, but in a channel one
    assert (
        len(centroids_of(recording([*one, *other]), bounds=SpeakerBounds(None, None, of_channel=of_channel)))
        == expected
    )


@pytest.mark.parametrize(
    ("start", "from_telephone"), [(44, [True, True]), (44, [True, False]), (44, [False, False]), (89, [True, True])]
)
def test_on_a_telephone_embeddings_are_smoothed_where_their_speech_overlaps(
    start: int, from_telephone: list[bool]
) -> None:
    # Given embeddings of two people, whose speech overlaps or not
    vectors = np.eye(2, EMBEDDING_SIZE, dtype=np.float32)
    embeddings = Embeddings(np.array([0, start]), np.array([89, start + 89]), vectors, np.array(from_telephone))
    # Then each has half of the other one if it overlaps and both are from a telephone, and its norm is 1
    is_joined = start < 89 and all(from_telephone)
    expected = (vectors + 0.5 * vectors[::-1]) / np.sqrt(1.25) if is_joined else vectors
    assert np.allclose(smoothed(embeddings).vectors, expected)
    assert np.array_equal(embeddings.vectors, np.eye(2, EMBEDDING_SIZE))
