"""The transcriber: runs transcription tasks, with speaker diarization if the task requests it."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import TranscriptionResult, TranscriptionTask

from app.engines.cores import Cores
from app.engines.engine import Engine, run_job
from app.engines.messages import DiarizationDone, Load, Loaded
from app.engines.window_queue import WindowQueue
from app.runtime.errors import PermanentError
from app.speech.diarizer import BackgroundDiarization, Diarizer
from app.speech.recordings.cache import TranscriptCache
from app.speech.recordings.channels import Transcription
from app.speech.redacted_audio import is_requested, redacted_copy
from app.speech.updates import Append, Checkpoint, NewText, Progress, TaskUpdate
from app.speech.window_sharing.sharing import WorkSharing
from app.storage.recordings.recording import REPLACED, Recording, RecordingStore

_DIARIZATION_SHARE = 0.5  # of the progress of a task with diarization: both parts take about the same time


@dataclass(frozen=True, slots=True)
class Transcriber:
    """Transcribes recordings, and attributes words to speakers if the task requests diarization.

    `transcripts`: the cache of transcripts. `windows`: the queue in which windows of speech wait for this worker's
    engine. `sharing`: sends windows to idle workers. `engine_threads`: how many CPU cores must be free for diarization
    to run concurrently with the transcription.
    """

    recordings: RecordingStore
    engine: Engine
    transcripts: TranscriptCache
    diarizer: Diarizer
    windows: WindowQueue
    sharing: WorkSharing
    engine_threads: int

    async def transcribe(self, task: TranscriptionTask, checkpoint: Checkpoint, append: Append) -> TranscriptionResult:
        """Transcribe the recording of a task; append progress and text to the task's log, and return the result.

        `checkpoint`: the segments that earlier attempts have stored; transcription continues after them.

        Raises:
            TaskError: The recording or the engine failed, or the engine does not support what the task requests.
            FencedError: Another worker runs the task.
        """
        async with self.recordings.fetch(task.audio_file_id) as recording:
            if checkpoint.audio_sha256 not in {None, recording.sha256}:
                raise PermanentError(ErrorCode.AUDIO_UNREADABLE, REPLACED)
            transcription = await self._transcription(task, recording)
            if task.diarize and checkpoint.diarization_error is None:
                await self._transcribe_and_diarize(transcription, checkpoint, append)
            else:
                await transcription.transcribe(checkpoint, append)
            # Copying a day's segments would block the event loop.
            result = await asyncio.to_thread(transcription.result)
            if task.redact is not None and is_requested(task.redact):
                async with redacted_copy(self.engine, recording, result, task.redact, append) as (_, with_copy):
                    result = with_copy
            await recording.check()
            return result

    async def _transcription(self, task: TranscriptionTask, recording: Recording) -> Transcription:
        loaded = await run_job(self.engine, Load(options=task.options), Loaded)
        return Transcription(
            engine=self.engine,
            own=self.windows,
            idle_workers=self.sharing.idle_workers(loaded),
            cache=self.transcripts,
            recording=recording,
            task=task,
            loaded=loaded,
        )

    async def _transcribe_and_diarize(
        self, transcription: Transcription, checkpoint: Checkpoint, append: Append
    ) -> None:
        """Transcribe and diarize the recording; if diarization fails, the result has no speakers.

        Diarization runs during the transcription if CPU cores are free, else after it. If an earlier attempt has stored
        text and then was lost or failed, it always runs after the transcription: diarization may have caused the
        failure. With separate channels, each is diarized on its own, after the transcription.
        """
        beside = not (checkpoint.processed_seconds and checkpoint.after_failure)
        cores = Cores()

        async def append_text(update: TaskUpdate) -> None:
            if isinstance(update, Progress):
                fraction = (1 - _DIARIZATION_SHARE) * update.fraction + _DIARIZATION_SHARE * diarization.fraction
                update = replace(update, fraction=fraction)
            await append(update)
            is_text = isinstance(update, NewText)
            if beside and not transcription.separate and is_text and cores.free(self.engine_threads):
                diarization.start()

        async def diarize(append_progress: Append) -> DiarizationDone:
            task, recording, channels = transcription.task, transcription.recording, transcription.transcript.channels
            return await self.diarizer.turns(task, recording, channels, append_progress)

        async with aclosing(BackgroundDiarization(diarize)) as diarization:
            await transcription.transcribe(checkpoint, append_text)
            await self._add_speakers(transcription, diarization, append)

    async def _add_speakers(
        self, transcription: Transcription, diarization: BackgroundDiarization, append: Append
    ) -> None:
        """Wait for the diarization to end; attribute words to its speakers, and compare these with enrolled voices."""
        await append(_diarizing(diarization, 0.0, transcription.duration))
        async for update in diarization.progress():
            await append(_diarizing(diarization, update.processed_seconds, update.duration_seconds))
        if diarization.result is not None:
            await append(Progress(Stage.MERGING, 1.0))
        identification = self.diarizer.identification
        result = await transcription.transcript.name_speakers(diarization, identification, append)
        transcription.cached = transcription.cached and result is not None and result.cached


def _diarizing(diarization: BackgroundDiarization, seconds: float | None, duration: float | None) -> Progress:
    fraction = 1 - _DIARIZATION_SHARE + _DIARIZATION_SHARE * diarization.fraction
    return Progress(Stage.DIARIZING, fraction, seconds, duration)
