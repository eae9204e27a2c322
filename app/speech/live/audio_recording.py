"""Build a recording from the audio of a live task that has ended, so that it can be diarized and stored."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.client.errors import ClientError
from natscribe.client.recordings import upload_store
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.live import Codec, LiveAudio, LiveTask

from app.runtime.errors import PermanentError
from app.runtime.temporary import report_full_disk, temporary_file
from app.settings import Settings
from app.speech.live.frame_offsets import FrameOffset
from app.speech.live.frames import FrameReader
from app.storage.recordings.recording import Recording, save

NOT_STORED = (
    "The audio could not be stored as a recording: ask the operator whether the store of recordings (AUDIO_STORE) is "
    "full. The frames stay for LIVE_TTL."
)
STORE_ATTEMPTS = 2  # each of which retries for half a minute
STORE_RETRY_S = 5.0
_MAX_BYTES = 2**40  # the stream of frames has limits of its own
_FORMATS = {Codec.PCM_S16LE: (1, 16), Codec.MULAW: (7, 8), Codec.ALAW: (6, 8)}  # WAV's format tag, bits of a sample
_UNKNOWN_SIZE = 0xFFFF_FFFF  # the usual value where the size is not known yet

log = structlog.get_logger()


@asynccontextmanager
async def recording_of(frames: FrameReader, audio: LiveAudio) -> AsyncIterator[Recording]:
    """Write the audio that `frames` has read so far to a temporary file, which is deleted when the `with` block ends.

    Raises:
        TransientError: internal: the frames cannot be read, or the temporary folder is full.
    """
    count = frames.count

    async def chunks() -> AsyncIterator[bytes]:
        if audio.codec in _FORMATS:  # frames of opus are already a file
            yield _header(audio)
        async with aclosing(frames.read(FrameOffset(), until=count)) as joined_frames:
            async for joined in joined_frames:
                yield joined.data

    async with temporary_file(frames.size) as path:
        with report_full_disk(frames.size), await asyncio.to_thread(path.open, "wb") as file:
            digest = await save(chunks(), file, _MAX_BYTES)
        yield Recording(path, digest)


def _header(audio: LiveAudio) -> bytes:
    """Return a WAV header for audio in the format `audio`; its size fields say that the length is not known yet."""
    tag, bits = _FORMATS[audio.codec]
    block = audio.channels * bits // 8
    layout = struct.pack("<HHIIHH", tag, audio.channels, audio.sample_rate, audio.sample_rate * block, block, bits)
    size = struct.pack("<I", _UNKNOWN_SIZE)
    return b"RIFF" + size + b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data" + size


def check_store(task: LiveTask, settings: Settings) -> None:
    """Check that the service can store recordings, if the task requests that its audio is kept (`keep_audio`).

    Raises:
        PermanentError: invalid_message: the task has `keep_audio`, but the service may only read its store of
            recordings.
    """
    if task.keep_audio and not settings.recordings_are_erasable:
        message = (
            "keep_audio: this service only reads recordings (AUDIO_STORE), so it cannot store one: leave `keep_audio` "
            "out, or ask the operator for a bucket."
        )
        raise PermanentError(ErrorCode.INVALID_MESSAGE, message)


async def store_audio(recording: Recording, task_id: str, settings: Settings, nats: Client) -> ErrorDetail | None:
    """Upload the audio of a live task to the store of recordings, under the task id; return an error if that fails.

    The error is returned and not raised, because the text is complete, and a task does not fail because of its audio.
    """
    store = upload_store(settings, nats)
    if store is None:
        return None
    for left in reversed(range(STORE_ATTEMPTS)):
        try:
            await store.upload(recording.path, task_id)
        except (ClientError, NatsError) as error:
            log.warning("audio_not_stored", error=type(error).__name__, tries_left=left)
        else:
            return None
        await asyncio.sleep(STORE_RETRY_S if left else 0)
    return ErrorDetail(code=ErrorCode.INTERNAL, message=NOT_STORED)
