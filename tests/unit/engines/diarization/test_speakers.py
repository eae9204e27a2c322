from collections.abc import Sequence

import numpy as np
import pytest

from app.engines.diarization import speakers
from app.engines.diarization.chunk import SIZE, VOICES, Chunk, Embedding
from app.engines.diarization.excerpts import FRAMES, PER_CHUNK
from app.engines.diarization.speakers import NOBODY, Bounds, owners

ANY = Bounds(None, None)
SECOND = 59  # frames


def sounds_like(person: int, *, but: float = 0.0, seed: int = 0) -> np.ndarray:
    """An embedding of this person, with so much of something else in it."""
    other = np.random.default_rng(seed).normal(size=SIZE)
    values: np.ndarray = (np.eye(SIZE)[person] + but * other / np.linalg.norm(other)).astype(np.float16)
    return values


def recording(*excerpts: Sequence[tuple[np.ndarray, int]]) -> list[Chunk]:
    """Chunks whose excerpts have these voices: an embedding, and frames alone."""
    embeddings = [
        Embedding(number, voice, frames, values)
        for number, voices in enumerate(excerpts)
        for voice, (values, frames) in enumerate(voices)
    ]
    assert len(excerpts) <= PER_CHUNK
    return [Chunk(0, np.zeros((len(excerpts), FRAMES, VOICES), np.uint8), embeddings)]


def people(found: np.ndarray) -> int:
    return len(set(found.ravel().tolist()) - {NOBODY})


def test_voices_that_sound_alike_are_one_speaker() -> None:
    # Given two people, each in two excerpts, and always somewhat different
    anna = [sounds_like(0, but=0.4, seed=seed) for seed in (1, 2)]
    ben = [sounds_like(1, but=0.4, seed=seed) for seed in (3, 4)]

    # When speakers are found, in whatever order the voices come
    found = owners(recording([(anna[0], 300), (ben[0], 300)], [(ben[1], 300), (anna[1], 300)]), ANY)

    # Then each has their two voices, and where nobody is, nobody is
    assert found[0, 0] == found[1, 1] != found[0, 1] == found[1, 0]
    assert (found[:, 2] == NOBODY).all()


def test_voices_of_one_excerpt_must_be_more_alike_to_be_one_speaker() -> None:
    # Given two voices about half alike: one speaker, if they are of two excerpts
    one, other = sounds_like(0), (sounds_like(0) + 1.5 * sounds_like(1)).astype(np.float16)
    assert people(owners(recording([(one, 300)], [(other, 300)]), ANY)) == 1

    # When the two are of one excerpt, then they are two
    assert people(owners(recording([(one, 300), (other, 300)]), ANY)) == 2


def test_all_three_voices_of_an_excerpt_are_pushed_apart() -> None:
    # Given three voices of one excerpt, the first and the last about half alike, and the second like neither
    one, other = sounds_like(0), (sounds_like(0) + 1.5 * sounds_like(1)).astype(np.float16)

    # When speakers are found, then they are three
    assert people(owners(recording([(one, 300), (sounds_like(2), 300), (other, 300)]), ANY)) == 3


def test_a_doubtful_voice_is_nobody_who_is_surely_in_its_excerpt() -> None:
    # Given two people, and in one excerpt the first of them and a moment of a voice that is more like them
    doubtful = (sounds_like(0) + 0.8 * sounds_like(1)).astype(np.float16)
    chunks = recording([(sounds_like(0), 300), (sounds_like(1), 300)], [(sounds_like(0), 300), (doubtful, 10)])

    # When speakers are found, then that voice is the second one's
    found = owners(chunks, ANY)
    assert found[1, 1] == found[0, 1]


def test_a_speaker_is_known_again_in_another_chunk() -> None:
    # Given two chunks, in the second of which the two speakers come the other way round
    anna, ben = (sounds_like(0), 300), (sounds_like(1), 300)
    (first,), (second,) = recording(*[[anna, ben]] * PER_CHUNK), recording([ben, anna])

    # When speakers are found, then they are the same two
    found = owners([first, Chunk(1, second.activity, second.embeddings)], ANY)
    assert found.shape == (PER_CHUNK + 1, VOICES)
    assert found[0, 0] == found[PER_CHUNK, 1] != found[0, 1] == found[PER_CHUNK, 0]


def test_a_voice_of_a_moment_makes_no_speaker_of_its_own() -> None:
    # Given a speaker who speaks for a long time, and a cough unlike them
    long, cough = sounds_like(0), sounds_like(1)

    # When speakers are found, then there is one, to whom the cough is given
    assert people(owners(recording([(long, 500)], [(long, 500), (cough, SECOND // 2)]), ANY)) == 1


def test_a_speaker_of_a_hundredth_is_none_but_of_a_short_recording_is_one() -> None:
    # Given somebody who speaks for two seconds
    short = sounds_like(1)

    # When there is much other speech, then they are given to the others; when there is little, they are a speaker
    much = [[(sounds_like(0), 50 * 585)] for _ in range(14)]
    assert people(owners(recording(*much, [(short, 2 * SECOND)]), ANY)) == 1
    assert people(owners(recording([(sounds_like(0), 585)], [(short, 2 * SECOND)]), ANY)) == 2


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((None, None), 2),
        ((1, 1), 1),
        ((None, 1), 1),
        ((2, 2), 2),
        ((3, None), 3),
        ((3, 3), 3),
        ((9, 9), 4),
        ((2, 5), 2),
    ],
)
def test_bounds_are_kept_as_far_as_there_are_voices(bounds: tuple[int | None, int | None], expected: int) -> None:
    # Given four voices of two people, one of whom varies more
    anna = [sounds_like(0, but=0.3, seed=seed) for seed in (1, 2)]
    ben = [sounds_like(1, but=0.6, seed=seed) for seed in (3, 4)]
    chunks = recording([(anna[0], 300), (ben[0], 300)], [(anna[1], 300), (ben[1], 300)])

    # When so many are asked for, then so many are found, if there are so many voices
    assert people(owners(chunks, Bounds(*bounds))) == expected


def test_of_a_number_a_cough_is_not_one() -> None:
    # Given two people who sound somewhat alike, and a short sound that is like neither
    both = [sounds_like(0), (sounds_like(0) + 0.9 * sounds_like(1)).astype(np.float16)]
    chunks = recording(*[[(both[0], 500)], [(both[1], 500)]] * 4, [(sounds_like(2), 35)])

    # When two speakers are asked for, then they are the two people
    found = owners(chunks, Bounds(2, 2))
    assert found[0, 0] != found[1, 0]


def test_more_voices_than_are_clustered_join_the_speaker_they_are_like(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given many voices of two people, of which few may be clustered
    monkeypatch.setattr(speakers, "_MOST", 4)
    chunks = recording(*[[(sounds_like(n % 2, but=0.3, seed=n), 200 + n)] for n in range(16)])

    # When speakers are found, then all voices have the right one
    found = owners(chunks, ANY)[:, 0]
    assert people(found) == 2
    assert all(found[n] == found[n % 2] for n in range(16))


def test_where_nobody_has_a_print_there_are_no_speakers() -> None:
    assert (owners(recording([], []), ANY) == NOBODY).all()


@pytest.mark.parametrize(
    ("least", "most", "found", "nearest"),
    [(2, 4, 1, 2), (2, 4, 3, 3), (2, 4, 9, 4), (None, 2, 5, 2), (3, None, 1, 3), (None, None, 6, 6), (3, 3, 5, 3)],
)
def test_the_nearest_number_within_the_bounds(least: int | None, most: int | None, found: int, nearest: int) -> None:
    # Given bounds, when a number of speakers was found, then the nearest allowed one is wanted
    assert Bounds(least, most).nearest(found) == nearest
