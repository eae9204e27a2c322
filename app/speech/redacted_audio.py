"""Redaction of a task's audio: a copy of the recording in which its entities cannot be heard."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager

from natscribe.jetstream.streams import RESULTS_BUCKET
from natscribe.schemas.redaction import AudioRedaction, SpokenEntity, TaskRedaction
from natscribe.schemas.transcription import Interval, TranscriptionResult
from natscribe.schemas.wire import Object

from app.engines.engine import Engine
from app.engines.messages import AudioRedacted, RedactAudio, StageAdvanced
from app.runtime.temporary import temporary_file
from app.speech.updates import Append, Progress, RedactedAudio
from app.storage.recordings.recording import Recording, sha256_of

MARGIN_S = 0.2  # 95 % of word times are at most 0.18 s wrong, with music: docs/performance.md


def audio_name(task_id: str) -> str:
    """Return the name of the object with the redacted recording of a task; no task id has a dot."""
    return f"{task_id}.flac"


def is_requested(redact: TaskRedaction | None) -> bool:
    """Return whether a task requests a redacted copy of its recording."""
    return redact is not None and redact.audio is not AudioRedaction.NONE


@asynccontextmanager
async def redacted_copy(
    engine: Engine, recording: Recording, result: TranscriptionResult, redact: TaskRedaction, append: Append
) -> AsyncIterator[tuple[Recording, TranscriptionResult]]:
    """Write a copy of a recording without the entities of its result, and store it with the result.

    Speech without text is not in the copy either: no rule has read it. Yield the copy, which is deleted after the
    `with` block, and the result with a reference to the stored object.

    Raises:
        TaskError: The engine failed, or the temporary folder is full.
        FencedError: Another worker runs the task.
    """
    size = int(result.duration * 32_000)  # bytes of one channel, if nothing can be compressed
    async with temporary_file(size) as path:
        job = RedactAudio(
            path=recording.path,
            output=path,
            spans=_spans([*result.entities, *result.untranscribed]),
            beep=redact.audio is AudioRedaction.BEEP,
        )
        async with aclosing(engine.run(job)) as replies:
            async for reply in replies:
                if isinstance(reply, StageAdvanced):
                    await append(Progress(reply.stage, 1.0, reply.processed_seconds, reply.duration_seconds))
                if isinstance(reply, AudioRedacted):
                    break
        copy = Recording(path, await asyncio.to_thread(sha256_of, path))
        await append(RedactedAudio(path, copy.sha256))
        stored = Object(
            bucket=RESULTS_BUCKET,
            name=audio_name(result.task_id),
            digest=f"SHA-256={base64.urlsafe_b64encode(bytes.fromhex(copy.sha256)).decode()}",
            size=path.stat().st_size,
        )
        yield copy, result.model_copy(update={"redacted_audio": stored})


def _spans(spoken: Iterable[SpokenEntity | Interval]) -> list[Interval]:
    return [Interval(start=max(span.start - MARGIN_S, 0), end=span.end + MARGIN_S) for span in spoken]
