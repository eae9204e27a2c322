"""The analysis of a chunk, with networks for which loudness is the local speaker: 1 is the first, and so on."""

import numpy as np
import pytest

from app.engines.diarization import analysis
from app.engines.diarization.analysis import analyse_chunk
from app.engines.diarization.chunk_analysis import ChunkAnalysis
from app.engines.diarization.windows import (
    FRAME_SAMPLES,
    STEP_FRAMES,
    STEP_SAMPLES,
    WINDOW_FRAMES,
    WINDOWS_PER_CHUNK,
    ChunkAudio,
)
from tests.fakes.networks import FakeNetworks, as_networks


@pytest.fixture(autouse=True)
def _no_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "features", lambda samples: samples)


def audio(*pieces: tuple[int, float], index: int = 0, excerpts: int = 1) -> ChunkAudio:
    """Pieces of frames, each with a loudness."""
    samples = np.concatenate([np.full(frames * FRAME_SAMPLES, loudness, np.float32) for frames, loudness in pieces])
    frames = (excerpts - 1) * STEP_FRAMES + WINDOW_FRAMES
    return ChunkAudio(index, samples, excerpts, frames)


def analysed(audio_of_chunk: ChunkAudio) -> tuple[ChunkAnalysis, FakeNetworks, list[float]]:
    networks, reported = FakeNetworks(), list[float]()
    chunk = analyse_chunk(as_networks(networks), audio_of_chunk, reported.append)
    return chunk, networks, reported


@pytest.mark.parametrize(("loudness", "segmented"), [(0.0, 0), (2.0**-15, 0), (-(2.0**-15), 0), (2.0**-14, 1)])
def test_silence_is_not_analysed(loudness: float, segmented: int) -> None:
    chunk, networks, _ = analysed(audio((300, loudness)))
    assert (networks.segmented, chunk.embeddings, chunk.overlapped) == (segmented, [], [])
    assert not chunk.activity.any()


@pytest.mark.parametrize(
    ("loudness", "speakers"),
    [(1.0, [0]), (2.0, [1]), (3.0, [2]), (4.0, [0, 1]), (5.0, [0, 2]), (6.0, [1, 2])],
)
def test_each_set_of_local_speakers_is_detected(loudness: float, speakers: list[int]) -> None:
    chunk, _, _ = analysed(audio((100, loudness)))
    activity = chunk.activity[0, :100].min(axis=0)
    assert [voice for voice in range(3) if activity[voice] == 255] == speakers
    assert not chunk.activity[0, 101:].any()


def test_who_speaks_alone_is_cut_into_slices() -> None:
    # Given three seconds of a first local speaker, one of a second and two moments of a third, with pauses
    chunk, networks, _ = analysed(audio((178, 1.0), (20, 0.0), (60, 2.0), (100, 0.0), *2 * [(15, 3.0), (10, 0.0)]))
    # Then each has embeddings inside its speech, all embedded, and no local speaker needs more
    assert [(embedding.start, embedding.end) for embedding in chunk.embeddings] == [
        (0, 89),
        (30, 119),
        (59, 148),
        (89, 178),
        (198, 258),
        (358, 373),
        (383, 398),
    ]
    assert [len(clip) for clip in networks.embedded] == [
        (embedding.end - embedding.start) * FRAME_SAMPLES for embedding in chunk.embeddings
    ]
    assert chunk.overlapped == []


@pytest.mark.parametrize(
    ("alone", "together", "is_overlapped", "embedded"),
    [
        (5, 0, False, None),  # too short to count
        (14, 0, True, 14 + 1),  # too short for a slice
        (29, 0, True, 29 + 1),
        (30, 0, False, None),  # its embeddings suffice
        (18, 60, True, 18 + 1),  # what it says alone is enough for an embedding
        (17, 60, True, 77 + 1),  # else what others say meanwhile counts, too
    ],
)
def test_a_local_speaker_that_hardly_speaks_alone_is_embedded(
    alone: int, together: int, is_overlapped: bool, embedded: int | None
) -> None:
    # Given a second local speaker that speaks for so many frames alone, and then with the first one, which speaks on
    chunk, networks, _ = analysed(audio((50, 0.0), (alone, 2.0), (together, 4.0), (200, 1.0)))
    seconds = [speaker for speaker in chunk.overlapped if speaker.number == 1]
    assert bool(seconds) is is_overlapped
    assert [speaker.window for speaker in chunk.overlapped] == [0] * len(chunk.overlapped)
    if embedded is not None:
        assert len(networks.embedded[-1]) == embedded * FRAME_SAMPLES


@pytest.mark.parametrize(("frames", "embedded"), [(5, []), (6, [6 + 2])])
def test_very_short_speech_has_no_embedding(frames: int, embedded: list[int]) -> None:
    # Given a local speaker that speaks twice
    chunk, networks, _ = analysed(audio((20, 0.0), (3, 3.0), (9, 0.0), (frames - 3, 3.0), (60, 0.0)))
    # Then it has one embedding, if it speaks long enough, with a frame more of each time
    assert [len(clip) / FRAME_SAMPLES for clip in networks.embedded] == embedded
    assert [speaker.number for speaker in chunk.overlapped] == [2] * len(embedded)


@pytest.mark.parametrize(
    ("loudness", "samples", "embedded"),
    [(1.0, 13_300, [12_940, 1_600]), (1.0, 13_299, [12_939]), (4.0, 1_600, [1_600, 1_600]), (4.0, 1_599, [])],
)
def test_speech_detected_after_the_end_is_left_out(loudness: float, samples: int, embedded: list[int]) -> None:
    # Given a recording that ends in the middle of speech, so that the padding is detected as well
    networks = FakeNetworks()
    segment = networks.segment
    networks.segment = lambda excerpt: segment(np.full_like(excerpt, loudness))  # type: ignore[method-assign]
    audio_of_chunk = ChunkAudio(0, np.full(samples, loudness, np.float32), 1, WINDOW_FRAMES)
    analyse_chunk(as_networks(networks), audio_of_chunk, lambda _: None)
    # Then no embedding begins behind it, and none has less than a tenth of a second
    assert [len(clip) for clip in networks.embedded] == embedded


def test_a_long_local_speaker_is_embedded_from_its_middle() -> None:
    # Given two people who speak at once for eight seconds, of which the four in the middle are a little louder
    samples = np.repeat(np.float32(4.0), 480 * FRAME_SAMPLES)
    samples[32_800:96_800] += 0.5
    networks = FakeNetworks()
    analyse_chunk(as_networks(networks), ChunkAudio(0, samples, 1, WINDOW_FRAMES), lambda _: None)
    # Then these are enough for each
    assert [set(clip) for clip in networks.embedded] == [{4.5}, {4.5}]
    assert [len(clip) for clip in networks.embedded] == [64_000, 64_000]


def test_progress_grows_to_the_end_of_the_chunk() -> None:
    # Given the second chunk of a recording, of two excerpts
    chunk, _, reported = analysed(audio((222, 1.0), (400, 2.0), index=1, excerpts=2))
    begin = WINDOWS_PER_CHUNK * STEP_SAMPLES / 16_000
    assert reported == sorted(reported)
    assert reported[0] == begin
    assert reported[1] == pytest.approx(begin + STEP_SAMPLES * 0.2 / 16_000)
    assert reported[-1] == pytest.approx(begin + (0.2 * 811 + 0.8 * chunk.embeddings[-1].end) * FRAME_SAMPLES / 16_000)
    assert reported[-1] <= begin + 811 * FRAME_SAMPLES / 16_000
