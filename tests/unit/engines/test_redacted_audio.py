"""A redacted recording: as long as the recording, and without what was said in the spans."""

import wave
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from natscribe.schemas.transcription import Interval

from app.engines.audio.limits import Limit
from app.engines.audio.redacted_audio import redact_audio
from app.engines.messages import AudioRedacted, RedactAudio, StageAdvanced

RATE = 16_000
SECONDS = 21.3
NOISE = np.random.default_rng(1).integers(-9000, 9000, (int(SECONDS * RATE), 9)).astype("<i2")
TIMES = st.integers(0, 24_000).map(lambda time: time / 1000)  # some after the end
LIMIT = Limit(3600, "AUDIO_MAX_SECONDS")

Pcm = npt.NDArray[np.int16]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for channels in (1, 2, 8, 9):
        with wave.open(str(tmp_path / f"{channels}.wav"), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(NOISE[:, :channels].tobytes())
    return tmp_path


def redacted(folder: Path, channels: int, spans: list[Interval], *, beep: bool = False) -> Pcm:
    """The samples of the redacted recording, shape (samples, channels)."""
    output = folder / "redacted.flac"
    job = RedactAudio(path=folder / f"{channels}.wav", output=output, spans=spans, beep=beep)
    *progress, last = redact_audio(job, LIMIT)
    assert isinstance(last, AudioRedacted)
    assert last.duration_seconds == pytest.approx(SECONDS)
    assert [reply.processed_seconds for reply in progress if isinstance(reply, StageAdvanced)] == [10, 20, SECONDS]
    with av.open(str(output)) as container:
        frames = [frame.to_ndarray().reshape(-1, frame.layout.nb_channels) for frame in container.decode(audio=0)]
    return np.concatenate(frames)


@given(spans=st.lists(st.tuples(TIMES, TIMES).map(sorted), max_size=6), channels=st.sampled_from([1, 2, 8]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_the_spans_are_silent_in_all_channels(folder: Path, spans: list[list[float]], channels: int) -> None:
    # When a recording is redacted
    samples = redacted(folder, channels, [Interval(start=start, end=end) for start, end in spans])
    # Then it has the same samples, except in the spans
    inside = np.zeros(len(NOISE), np.bool_)
    around = np.zeros(len(NOISE), np.bool_)
    for start, end in spans:
        first, last = round(start * RATE), round(end * RATE)
        inside[first : last + 1] = True
        around[max(first - 1, 0) : last + 2] = True
    assert samples.shape == (len(NOISE), channels)
    assert not samples[inside].any()
    assert np.array_equal(samples[~around], NOISE[~around, :channels])


def test_a_beep_is_a_tone_of_one_kilohertz(folder: Path) -> None:
    samples = redacted(folder, 2, [Interval(start=9.5, end=10.5)], beep=True)
    tone = samples[152_000:168_000]  # over the border of two blocks
    spectrum = np.abs(np.fft.rfft(tone[:, 0].astype(float)))
    assert int(spectrum.argmax()) == 1000
    assert (spectrum**2)[990:1010].sum() > 0.99 * (spectrum**2).sum()
    assert np.array_equal(tone[:, 0], tone[:, 1])


def test_of_more_than_eight_channels_the_mix_is_redacted(folder: Path) -> None:
    samples = redacted(folder, 9, [Interval(start=1, end=2)])
    assert samples.shape == (len(NOISE), 1)
    assert not samples[RATE : 2 * RATE].any()
    assert samples[: RATE - 2].any()
