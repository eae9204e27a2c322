"""A worker whose transcription is scripted: it takes a given time, and no processor time."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from natscribe.schemas.transcription import TranscriptionResult, TranscriptionTask
from natscribe.schemas.wire import Model

from app.engines.messages import Job, Loaded, Reply
from app.main import Worker
from app.runtime.telemetry import logs
from app.settings import Settings
from app.speech.recordings.transcriber import Transcriber
from app.speech.updates import Append, Checkpoint

MODEL = Model(name="none", revision="0")


class NoEngine:
    """Replaces the engine; nothing calls it."""

    loaded: Loaded | None = Loaded(model=MODEL)

    async def load(self) -> None:
        """Do nothing."""

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        """Reply nothing: the transcriber below does not call it."""
        del job
        nothing: tuple[Reply, ...] = ()
        for reply in nothing:
            yield reply

    async def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class ScriptedTranscriber:
    """Returns an empty result after `seconds`."""

    seconds: float

    async def transcribe(self, task: TranscriptionTask, checkpoint: Checkpoint, append: Append) -> TranscriptionResult:
        """Return an empty result."""
        del checkpoint, append
        await asyncio.sleep(self.seconds)
        return TranscriptionResult(
            task_id=task.task_id,
            audio_file_id=task.audio_file_id,
            user_id=task.user_id,
            text="",
            language=None,
            duration=0.0,
            segments=[],
            model=MODEL,
            audio_sha256="0" * 64,
            created_at=datetime.now(UTC),
        )


def scripted_worker(seconds: float) -> Worker:
    """Return a worker, with settings from the environment, whose transcription takes `seconds`."""
    settings = Settings()
    logs.configure(settings.log_level)
    worker = Worker(settings, NoEngine())

    @worker.app.on_startup
    async def replace() -> None:
        worker.container.transcriber = cast("Transcriber", ScriptedTranscriber(seconds))

    return worker
