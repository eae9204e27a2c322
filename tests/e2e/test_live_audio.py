"""Live audio without speech, or in another format than declared, and the real engine: the task ends, with a reason."""

import asyncio

import numpy as np
import pytest
from natscribe.client import Client, ClientError, RequestFailedError
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import Codec, LiveAudio
from natscribe.schemas.transcription import TranscriptionResult

from tests.e2e.conftest import LIBRIVOX
from tests.truth.recordings import RATE, read, words_of
from tests.truth.words import longest_difference
from tests.unit.engines.opus_files import hum, recorded

CLIP = min(LIBRIVOX.glob("*.flac"))
QUIET_S = 900
NOISE = np.random.default_rng(7).integers(-12_000, 12_000, 30 * RATE, "<i2").tobytes()
PCM, OPUS = LiveAudio(), LiveAudio(codec=Codec.OPUS, sample_rate=48_000)

pytestmark = pytest.mark.timeout(300)


async def result_of(client: Client, content: bytes, audio: LiveAudio = PCM) -> TranscriptionResult:
    """The result of audio that is sent as fast as it is accepted."""
    async with client.live(audio=audio) as live:
        await live.send(content)
    return await live.result()


async def test_a_long_silence_has_no_words(client: Client) -> None:
    # When there is no speech for a quarter of an hour, and then some
    speech = read(CLIP).astype("<i2").tobytes()
    async with client.live() as live:
        for _ in range(QUIET_S // 60):
            await live.send(bytes(60 * 2 * RATE))
        await live.send(speech)
    result = await live.result()
    # Then that is all, and at its time
    assert longest_difference(words_of(CLIP), result.text) <= 2
    assert all(segment.start >= QUIET_S for segment in result.segments)
    assert result.duration == pytest.approx(QUIET_S + len(speech) / 2 / RATE, abs=0.01)


async def test_noise_ends_well(client: Client) -> None:
    # When half a minute of noise is sent, then the task ends, with all of its audio processed
    result = await result_of(client, NOISE)
    assert result.duration == 30
    # And speech is transcribed as before
    assert longest_difference(words_of(CLIP), (await result_of(client, read(CLIP).astype("<i2").tobytes())).text) <= 2


@pytest.mark.parametrize(
    ("audio", "content", "named"),
    [
        (PCM, CLIP.read_bytes(), "FLAC"),
        (PCM, recorded("ogg", hum(2)), "Ogg"),
        (LiveAudio(codec=Codec.MULAW, sample_rate=8000), recorded("webm", hum(2)), "WebM"),
        (OPUS, NOISE, "not Opus in Ogg or WebM"),
        (OPUS, recorded("webm", hum(2, channels=2)), "2 channels"),
        (OPUS, recorded("ogg", hum(2))[:2000] + NOISE[: 1024**2], "The live audio"),
    ],
    ids=["flac", "ogg", "webm", "noise", "two channels", "cut"],  # the audio differs in each run
)
async def test_audio_in_another_format_than_its_task_is_named(
    client: Client, audio: LiveAudio, content: bytes, named: str
) -> None:
    # When a client sends another format than its task declares, then the error says so
    async with asyncio.timeout(60):
        with pytest.raises(ClientError, match=named) as failed:
            await result_of(client, content, audio)
    assert isinstance(failed.value, RequestFailedError)
    assert failed.value.code is ErrorCode.AUDIO_UNREADABLE
