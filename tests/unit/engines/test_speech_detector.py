"""The voice detector on audio that comes in pieces."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from faster_whisper.vad import get_vad_model

from app.engines.audio.decoding import decode
from app.engines.audio.limits import Budget, Limit
from app.engines.audio.speech_detector import SECTION, SpeechDetector, speech_in_chunk
from app.engines.audio.windows import FRAME, SPEECH, WARM_UP, VoiceDetector
from app.engines.diarization.telephone import simulate_telephone

pytestmark = pytest.mark.xdist_group("voice")  # the probabilities of the whole recording are computed once

CLIPS = sorted((Path(__file__).parents[2] / "recordings" / "librivox").glob("*.flac"))
NEEDED = SECTION + WARM_UP
LATER = [SECTION, SECTION + 500, 2 * SECTION + 3]
Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def recording() -> Floats:
    """Real voices, longer than two sections, in whole frames."""
    parts = [samples for clip in CLIPS for samples in decode(clip, Budget(Limit(3600, "AUDIO_MAX_SECONDS")))]
    joined = np.tile(np.concatenate(parts), 9)
    assert len(joined) > 2.5 * SECTION * FRAME
    return joined[: int(2.5 * SECTION) * FRAME]


@pytest.fixture(scope="module", params=["full bandwidth", "telephone"])
def speech(recording: Floats, request: pytest.FixtureRequest) -> Floats:
    """The recording, at full bandwidth and as a telephone transmits it."""
    return recording if request.param == "full bandwidth" else simulate_telephone(recording)


@pytest.fixture(scope="module")
def undisturbed(speech: Floats) -> Floats:
    """The probabilities of the recording in one piece."""
    return SpeechDetector()(speech)


def probabilities(voice: SpeechDetector, samples: Floats, frames: int) -> Floats:
    size = frames * FRAME
    return np.concatenate([voice(samples[at : at + size]) for at in range(0, len(samples), size)])


@pytest.mark.parametrize("frames", [1, 4, 100])
def test_what_is_processed_does_not_depend_on_the_size_of_the_pieces(
    speech: Floats, undisturbed: Floats, frames: int
) -> None:
    # Given a recording, when it comes in pieces, then the probabilities are those of the whole
    assert np.allclose(probabilities(SpeechDetector(), speech, frames), undisturbed, rtol=0, atol=1e-4)


def test_at_full_bandwidth_pieces_give_the_probabilities_of_the_whole(recording: Floats) -> None:
    # Given a section of a recording, and the judgement of the network on all of it
    section = recording[: SECTION * FRAME]
    whole = get_vad_model()(section.copy()).ravel()
    # When it comes in pieces, then the result is the same, except for the last frame, whose end is missing
    assert np.allclose(probabilities(SpeechDetector(), section, 8)[:-1], whole[:-1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("detect", [SpeechDetector(), speech_in_chunk], ids=["live audio", "a recording"])
def test_speech_on_a_telephone_is_detected(recording: Floats, detect: VoiceDetector) -> None:
    # Given a section of a recording as a telephone transmits it, of which the network alone detects hardly any speech
    expected = SpeechDetector()(recording[: SECTION * FRAME]) >= SPEECH
    section = simulate_telephone(recording[: SECTION * FRAME])
    network = get_vad_model()(section.copy()).ravel() >= SPEECH
    assert network[expected].mean() <= 0.2
    # Then the detector detects most of the speech, and nothing else
    detected = detect(section) >= SPEECH
    assert detected[expected].mean() >= 0.75
    assert detected[~expected].mean() <= 0.02


@pytest.mark.parametrize(
    ("start", "begin"), [(start, 0) for start in (100, *LATER)] + [(start, start - NEEDED) for start in LATER]
)
def test_a_worker_that_continues_in_the_middle_detects_the_same(
    speech: Floats, undisturbed: Floats, start: int, begin: int
) -> None:
    # Given the probabilities of a recording
    # When another detector starts at a frame in the middle, with all audio before it or with what it needs of that
    begin = max(begin, 0)
    again = probabilities(SpeechDetector(start, begin), speech[begin * FRAME :], 10)
    # Then the result from there on is the same
    assert np.allclose(again[start - begin :], undisturbed[start:], rtol=0, atol=1e-4)
    # And the sections before were not processed
    assert not again[: max(start // SECTION * SECTION - begin, 0)].any()
