"""A job with networks for which loudness is the speaker: what it emits and returns, and what it does not do again."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from natscribe.schemas.errors import ErrorCode

from app.engines.audio.limits import Limit
from app.engines.diarization import VOICE_NETWORK, analysis, diarizer
from app.engines.diarization.diarizer import diarize
from app.engines.messages import ChunkAnalysed, DiarizationDone, Diarize, StageAdvanced
from app.runtime.errors import PermanentError
from tests.audio import NO_LIMIT, Samples, silence, write
from tests.fakes.networks import FakeNetworks, as_networks

Emitted = list[StageAdvanced | ChunkAnalysed]
BOTH = ("SPEAKER_00", "SPEAKER_01")


@pytest.fixture(autouse=True)
def _no_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "features", lambda samples: samples)


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Two minutes and a bit, three chunks: two people, who speak in the first and the last one."""
    both = np.concatenate([voice(1.0, 5), voice(2.0, 4)])
    return write(tmp_path / "talk.wav", np.concatenate([both, silence(112), both]), "pcm_f32le")


def voice(loudness: float, seconds: int) -> Samples:
    return silence(seconds) + np.float32(loudness)


def run(path: Path, known: Sequence[ChunkAnalysed] = (), *, embed: bool = False) -> tuple[DiarizationDone, Emitted]:
    emitted: Emitted = []
    job = Diarize(path=path, known=list(known), embed=embed)
    return diarize(as_networks(FakeNetworks()), job, NO_LIMIT, emitted.append), emitted


def chunks(emitted: Emitted) -> list[ChunkAnalysed]:
    return [message for message in emitted if isinstance(message, ChunkAnalysed)]


def test_a_job_that_resumes_analyses_the_rest_and_finds_the_same_turns(talk: Path) -> None:
    # Given what a whole job finds
    done, emitted = run(talk)
    assert [(turn.speaker, round(turn.start)) for turn in done.turns] == [*zip(2 * BOTH, (0, 5, 121, 126), strict=True)]
    assert (done.duration_seconds, [chunk.index for chunk in chunks(emitted)]) == (130, [0, 1, 2])
    # When a job knows the first two chunks, then it analyses only the last one
    resumed, later = run(talk, known=chunks(emitted)[:2])
    assert ([chunk.index for chunk in chunks(later)], resumed) == ([2], done)


def test_records_that_cannot_be_used_are_replaced(talk: Path) -> None:
    # Given records of another revision, of nothing, and of a chunk of another length
    done, emitted = run(talk)
    first, second, last = chunks(emitted)
    records = [
        first.model_copy(update={"revision": "0", "record": second.record}),
        second.model_copy(update={"record": "bm90aGluZw=="}),
        last.model_copy(update={"record": first.record}),
    ]
    # When a job knows these, then it analyses all three chunks again
    again, later = run(talk, known=records)
    assert ([chunk.index for chunk in chunks(later)], again) == ([0, 1, 2], done)


def test_progress_is_reported_once_a_second(talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given networks that take half a second for an embedding
    networks, reported = FakeNetworks(), list[tuple[float, float]]()
    monkeypatch.setattr(diarizer, "monotonic", lambda: len(networks.embedded) / 2)

    def emit(reply: StageAdvanced | ChunkAnalysed) -> None:
        if isinstance(reply, StageAdvanced):
            assert reply.duration_seconds == 130
            reported.append((len(networks.embedded) / 2, reply.processed_seconds))

    # When a recording is diarized
    diarize(as_networks(networks), Diarize(path=talk), NO_LIMIT, emit)
    # Then its duration and the beginning are reported at once, and then once a second how far it is, up to the end
    assert reported[:2] == [(0, 0), (0, 0)]
    assert [at for at, _ in reported[1:]] == list(range(len(networks.embedded) // 2 + 1))
    assert all(before < after for (_, before), (_, after) in pairwise(reported[1:]))
    assert 128 < reported[-1][1] <= 130


def test_speakers_are_embedded_if_requested(talk: Path) -> None:
    assert run(talk)[0].embedded is None
    embedded = run(talk, embed=True)[0].embedded
    assert embedded is not None
    assert (embedded.model, [speaker.speaker for speaker in embedded.speakers]) == (VOICE_NETWORK.model, [*BOTH])


def test_a_recording_above_the_limit_is_refused(talk: Path) -> None:
    # Given a limit below the recording's length, when it is diarized, then the setting is named
    limit = Limit(10, "DIARIZATION_MAX_SECONDS")
    with pytest.raises(PermanentError, match="DIARIZATION_MAX_SECONDS") as caught:
        diarize(as_networks(FakeNetworks()), Diarize(path=talk), limit, lambda _: None)
    assert caught.value.detail.code is ErrorCode.AUDIO_TOO_LARGE
