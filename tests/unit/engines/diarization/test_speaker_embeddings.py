"""The embeddings of speakers: of speech without overlap, at full bandwidth and on a telephone."""

from base64 import b64decode
from collections.abc import Iterator

import numpy as np
import pytest
from natscribe.schemas.diarization import Turn

from app.engines.diarization import speaker_embeddings as embeddings_module
from app.engines.diarization.chunk_analysis import EMBEDDING_SIZE
from app.engines.diarization.networks import Networks
from app.engines.diarization.speaker_embeddings import speaker_embeddings
from app.engines.diarization.speakers import Embeddings
from app.engines.diarization.windows import FIRST_FRAME_AT, FRAME_SAMPLES
from app.engines.messages import SpeakerEmbedding

PEOPLE = np.eye(EMBEDDING_SIZE, dtype=np.float32)
EDGE = 295  # the frame at second 5, where one speaker ends and the other one begins
TURNS = [Turn(start=0, end=5, speaker="SPEAKER_00"), Turn(start=5, end=10, speaker="SPEAKER_01")]
BOTH = ("SPEAKER_00", "SPEAKER_01")
Spans = list[tuple[int, int, int]]  # from a frame to a frame, and whom the embedding is like


class FakeNetworks:
    """Remembers the audio that it embeds, by its first and last frame."""

    def __init__(self) -> None:
        self.telephone_spans: list[tuple[int, int]] = []

    def embed(self, samples: np.ndarray) -> np.ndarray:
        first = (int(samples[0]) - FIRST_FRAME_AT) // FRAME_SAMPLES
        assert np.array_equal(samples, np.arange(len(samples)) + samples[0])
        self.telephone_spans.append((first, first + len(samples) // FRAME_SAMPLES))
        by_speaker: np.ndarray = PEOPLE[100 + len(self.telephone_spans)]
        return by_speaker


@pytest.fixture(autouse=True)
def _as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network gets the audio itself."""
    monkeypatch.setattr(embeddings_module, "features", lambda samples: samples)
    monkeypatch.setattr(embeddings_module, "simulate_telephone", lambda samples: samples)


def audio(samples: int) -> Iterator[np.ndarray]:
    """A recording in which each sample is its number, in pieces."""
    whole = np.arange(samples, dtype=np.float32)
    yield from (whole[at : at + 7000] for at in range(0, samples, 7000))


def embedded(
    spans: Spans, turns: list[Turn] = TURNS, samples: int = 200_000, pieces: Iterator[np.ndarray] | None = None
) -> tuple[dict[str, SpeakerEmbedding], list[tuple[int, int]]]:
    """The speakers' embeddings, and what was made as a telephone transmits it."""
    networks = FakeNetworks()
    starts, ends, people = (np.array(column, np.intp) for column in zip(*spans, strict=True))
    embeddings = Embeddings(starts, ends, PEOPLE[people], np.zeros(len(people), np.bool_))
    as_networks: Networks = networks  # type: ignore[assignment]  # all that is called
    by_speaker = speaker_embeddings(as_networks, embeddings, turns, pieces or audio(samples))
    return {speaker.speaker: speaker for speaker in by_speaker}, networks.telephone_spans


def directions(values: str) -> set[int]:
    """Whom an embedding is like."""
    return set(np.frombuffer(b64decode(values), np.int8).nonzero()[0].tolist())


def test_each_speaker_has_the_mean_of_what_is_their_own() -> None:
    # Given embeddings of two speakers, of whom the second one resembles two people
    by_speaker, telephone_spans = embedded([(10, 99, 0), (54, 143, 0), (143, 232, 0), (300, 389, 1), (400, 489, 2)])
    # Then each has those of their own turn, with the seconds of all and how far they agree
    assert [directions(by_speaker[label].values) for label in BOTH] == [{0}, {1, 2}]
    assert [by_speaker[label].agreement for label in BOTH] == [1.0, 0.707]
    assert by_speaker["SPEAKER_00"].seconds == pytest.approx((232 - 10) * FRAME_SAMPLES / 16_000, abs=0.001)
    assert by_speaker["SPEAKER_01"].seconds == pytest.approx(2 * 89 * FRAME_SAMPLES / 16_000, abs=0.001)
    # And on a telephone each is the sum of those that do not overlap
    assert telephone_spans == [(10, 99), (143, 232), (300, 389), (400, 489)]
    assert [directions(by_speaker[label].telephone) for label in BOTH] == [{101, 102}, {103, 104}]


def test_nine_tenths_of_an_embedding_are_its_speakers() -> None:
    # Given embeddings of which a tenth, or a little more, lies across the change of speaker
    by_speaker, telephone_spans = embedded(
        [(EDGE - 45, EDGE + 5, 0), (EDGE - 44, EDGE + 6, 3), (EDGE - 6, EDGE + 44, 3), (EDGE - 5, EDGE + 45, 1)]
    )
    # Then the first ones count, and the others belong to no speaker
    assert [directions(by_speaker[label].values) for label in BOTH] == [{0}, {1}]
    assert telephone_spans == [(EDGE - 45, EDGE + 5), (EDGE - 5, EDGE + 45)]


def test_speech_of_two_at_once_is_nobodys() -> None:
    # Given a person who speaks only while another one does, and that one alone before
    together = [Turn(start=0, end=5, speaker="SPEAKER_00"), Turn(start=2.5, end=5, speaker="SPEAKER_01")]
    by_speaker, _ = embedded([(0, 60, 0), (200, 260, 1)], together)
    # Then only the other one has an embedding
    assert directions(by_speaker["SPEAKER_00"].values) == {0}
    assert by_speaker["SPEAKER_01"] == SpeakerEmbedding(
        speaker="SPEAKER_01", seconds=0, agreement=0, values="", telephone=""
    )


@pytest.mark.parametrize(("frames", "people"), [(45, {0}), (44, set())])
def test_short_speech_has_little_weight_in_an_embedding(frames: int, people: set[int]) -> None:
    by_speaker, _ = embedded([(0, frames, 0)])
    assert directions(by_speaker["SPEAKER_00"].values) == people


def test_short_and_long_embeddings_weigh_by_what_is_new_in_them() -> None:
    # Given an embedding whose neighbours repeat its half, and a short one
    by_speaker, _ = embedded([(0, 45, 0), (45, 134, 1)])
    # Then both weigh the same
    assert by_speaker["SPEAKER_00"].agreement == 0.707


def test_eighteen_seconds_of_a_speaker_are_made_again() -> None:
    long = [Turn(start=0, end=60, speaker="SPEAKER_00")]
    _, telephone_spans = embedded([(89 * number, 89 * number + 89, 0) for number in range(14)], long, samples=400_000)
    assert telephone_spans == [(89 * number, 89 * number + 89) for number in range(12)]


def test_the_audio_is_read_no_further_than_what_is_embedded() -> None:
    # Given speech that ends with a piece of the audio, when it is embedded, then the next piece is not read
    pieces = audio(200_000)
    embedded([(143, 232, 0)], pieces=pieces)
    assert next(pieces)[0] == 232 * FRAME_SAMPLES + FIRST_FRAME_AT


@pytest.mark.parametrize(("lacking", "counts"), [(0, True), (1, False)])
def test_a_recording_may_end_a_little_before_its_last_turn(lacking: int, counts: bool) -> None:
    # Given a recording that has half of the shortest embedding, or a sample less
    by_speaker, telephone_spans = embedded(
        [(300, 345, 1)], samples=300 * FRAME_SAMPLES + FIRST_FRAME_AT + 45 * FRAME_SAMPLES // 2 - lacking
    )
    # Then its speaker has an embedding if there is enough
    assert (len(telephone_spans), bool(by_speaker["SPEAKER_01"].values)) == (int(counts), counts)
