"""The second family of engines, the whole way: a real service with a small network by onnx-asr."""

from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from natscribe.schemas.requests import ResultFormat

from tests.audio import load, silence, write
from tests.e2e.conftest import LIBRIVOX, ROOT, running, servers, transcribe

pytestmark = pytest.mark.xdist_group("onnx")

RUSSIAN = ROOT / "tests/recordings/announcements/ru-agent-user.flac"
CLIPS = [*sorted(LIBRIVOX.glob("*.flac")), RUSSIAN]
SLIP = ("a more a amiable", "a more amiable")  # tests/recordings/README.md


def reference_text(path: Path) -> str:
    return path.with_suffix(".txt").read_text(encoding="utf-8").strip().replace(*SLIP)


async def test_a_recording_is_read_by_the_network(tmp_path: Path) -> None:
    # Given a recording of two people in two languages, with pauses, and a worker with the network
    pieces = [piece for clip in CLIPS for piece in (load(clip), silence(0.6))]
    recording = write(tmp_path / "clips.flac", np.concatenate(pieces), "flac")
    async with servers(tmp_path) as defaults:
        settings = defaults.model_copy(update={"transcription_models_dir": ROOT / "tests/networks", "cache_ttl": 3600})

        # When two tasks name the network, and request words and speakers
        async with running(settings, tmp_path / "service.log") as worker, worker.client() as client:
            options = {"model": "reader", "word_timestamps": True, "diarize": True}
            result, repeated = [await transcribe(client, recording, **options) for _ in range(2)]
            subtitles = await client.get_task_result(result.task_id, ResultFormat.VTT)

    # Then every word is right, and the result names the model
    assert result.text == " ".join(reference_text(clip) for clip in CLIPS)
    assert result.model.name == "reader"

    # And words have times and probabilities, in order
    words = [word for segment in result.segments for word in segment.words or []]
    assert all(a.start <= a.end <= b.start for a, b in pairwise(words))
    assert fmean(word.probability for word in words) > 0.8
    assert all((segment.avg_logprob or 0.0) > -0.3 for segment in result.segments)
    assert result.untranscribed == []
    # And no figures that this family does not have
    assert {(segment.no_speech_prob, segment.language) for segment in result.segments} == {(None, None)}

    # And the announcement has a speaker of its own
    speakers = {segment.speaker for segment in result.segments if "оператора" in segment.text}
    assert len(speakers) == 1
    assert not speakers & {segment.speaker for segment in result.segments if "amiable" in segment.text}

    # And there are subtitles, and the second task has the same result
    assert "Регистрация оператора." in str(subtitles)
    assert repeated.segments == result.segments
