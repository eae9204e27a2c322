"""The bundled models on two real voices."""

from pathlib import Path

import pytest

from app.engines.decoding import Limit
from app.engines.diarization import Diarizer
from app.engines.messages import DiarizationDone, Diarize, StageAdvanced
from handlers.errors import PermanentError
from schemas.errors import ErrorCode

from .sounds import NO_LIMIT, silence, write

DEMO = Path(__file__).parents[3] / "app" / "cli" / "demo" / "two_readers.flac"
TRUTH = [("SPEAKER_00", 0.5), ("SPEAKER_01", 7.6), ("SPEAKER_00", 12.4), ("SPEAKER_01", 20.7), ("SPEAKER_00", 22.8)]


@pytest.fixture(scope="module")
def diarizer() -> Diarizer:
    return Diarizer(threads=1)


def run(
    diarizer: Diarizer, path: Path, limit: Limit = NO_LIMIT, bounds: dict[str, int] | None = None
) -> tuple[DiarizationDone, list[StageAdvanced]]:
    news: list[StageAdvanced] = []
    job = Diarize.model_validate({"path": path} | (bounds or {}))
    return diarizer.diarize(job, limit, news.append), news


def test_two_readers_are_told_apart(diarizer: Diarizer) -> None:
    # Given a recording of two readers taking turns
    done, news = run(diarizer, DEMO)

    # When it is diarized, then the changes of speaker are where they are in truth
    changes = [
        (turn.speaker, turn.start)
        for before, turn in zip([None, *done.turns], done.turns, strict=False)
        if before is None or before.speaker != turn.speaker
    ]
    assert [speaker for speaker, _ in changes] == [speaker for speaker, _ in TRUTH]
    assert [start for _, start in changes] == pytest.approx([start for _, start in TRUTH], abs=0.3)
    assert done.turns[-1].end <= done.duration_seconds

    # And progress never fell
    told = [each.processed_seconds for each in news]
    assert told == sorted(told)
    assert told[0] == 0


@pytest.mark.parametrize(
    ("bounds", "speakers"), [({"max_speakers": 1}, 1), ({"min_speakers": 2, "max_speakers": 2}, 2)]
)
def test_bounds_are_kept(diarizer: Diarizer, bounds: dict[str, int], speakers: int) -> None:
    # Given bounds for the number of speakers, when two readers are diarized
    done, news = run(diarizer, DEMO, bounds=bounds)

    # Then so many are found, and progress never fell
    assert len({turn.speaker for turn in done.turns}) == speakers
    told = [each.processed_seconds for each in news]
    assert told == sorted(told)


def test_in_silence_nobody_speaks(diarizer: Diarizer, tmp_path: Path) -> None:
    # Given silence, when it is diarized, then there are no turns
    assert run(diarizer, write(tmp_path / "silence.flac", silence(12), "flac"))[0].turns == []


def test_a_recording_above_the_limit_is_refused(diarizer: Diarizer) -> None:
    # Given a limit below the recording's length, when it is diarized, then the setting is named
    with pytest.raises(PermanentError, match="DIARIZATION_MAX_SECONDS") as caught:
        run(diarizer, DEMO, Limit(10, "DIARIZATION_MAX_SECONDS"))
    assert caught.value.detail.code is ErrorCode.AUDIO_TOO_LARGE
