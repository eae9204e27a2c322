"""Makes a recording of the sound of a live task that has ended: to find its speakers, and to keep it."""

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

from app.errors import PermanentError
from app.live.frame_offsets import FrameOffset
from app.live.frames import Frames
from app.recordings.recording import Recording, save
from app.settings import Settings
from app.temporary import report_full_disk, temporary_file

NOT_KEPT = (
    "The sound could not be stored as a recording: let the operator look whether the store of recordings (AUDIO_STORE) "
    "is full. Its frames stay for LIVE_TTL."
)
NO_STORE = (
    "keep_audio: this service only reads recordings (AUDIO_STORE), so it cannot store one: leave `keep_audio` out, or"
    " ask the operator for a bucket."
)
KEEP_TRIES = 2  # each of which insists for half a minute
KEPT_AGAIN_AFTER_S = 5.0
_MOST_BYTES = 2**40  # the stream of frames has limits of its own
_FORMATS = {Codec.PCM_S16LE: (1, 16), Codec.MULAW: (7, 8), Codec.ALAW: (6, 8)}  # WAV's format tag, bits of a sample
_UNKNOWN_SIZE = 0xFFFF_FFFF  # as programs write that do not know the size yet

log = structlog.get_logger()


@asynccontextmanager
async def recording_of(frames: Frames, audio: LiveAudio) -> AsyncIterator[Recording]:
    """Write the frames that were read so far into a temporary file, which is deleted when the block ends.

    Raises:
        TransientError: internal: the frames cannot be read, or the temporary folder is full.
    """
    count = frames.count

    async def chunks() -> AsyncIterator[bytes]:
        if audio.codec in _FORMATS:  # frames of opus are a file already
            yield _header(audio)
        async with aclosing(frames.read(FrameOffset(), until=count)) as read:
            async for sound in read:
                yield sound.data

    async with temporary_file(frames.size) as path:
        with report_full_disk(frames.size):
            file = await asyncio.to_thread(path.open, "wb")
            with file:
                digest = await save(chunks(), file, _MOST_BYTES)
        yield Recording(path, digest)


def _header(audio: LiveAudio) -> bytes:
    """Return the header of a WAV file whose size is not known."""
    tag, bits = _FORMATS[audio.codec]
    whole = audio.channels * bits // 8
    form = struct.pack("<HHIIHH", tag, audio.channels, audio.sample_rate, audio.sample_rate * whole, whole, bits)
    size = struct.pack("<I", _UNKNOWN_SIZE)
    return b"RIFF" + size + b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + size


def check_store(task: LiveTask, settings: Settings) -> None:
    """Check that the sound of a task can be stored, if it is to be kept.

    Raises:
        PermanentError: invalid_message: the service only reads recordings.
    """
    if task.keep_audio and not settings.recordings_are_erasable:
        raise PermanentError(ErrorCode.INVALID_MESSAGE, NO_STORE)


async def keep(recording: Recording, task_id: str, settings: Settings, nats: Client) -> ErrorDetail | None:
    """Store the sound as a recording whose name is the task id; return None, or an error if all tries have failed.

    The text is complete by then, so nothing is raised: the task does not fail because of its sound.
    """
    store = upload_store(settings, nats)
    if store is None:
        return None
    for left in reversed(range(KEEP_TRIES)):
        try:
            await store.upload(recording.path, task_id)
        except (ClientError, NatsError) as error:
            log.warning("sound_not_kept", error=type(error).__name__, tries_left=left)
        else:
            return None
        await asyncio.sleep(KEPT_AGAIN_AFTER_S if left else 0)
    return ErrorDetail(code=ErrorCode.INTERNAL, message=NOT_KEPT)
