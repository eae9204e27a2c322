"""The transcriber: transcribes a recording, and finds its speakers if the task asks for them."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import TranscriptionResult, TranscriptionTask

from app.engines.cores import Cores
from app.engines.engine import Engine, run_job
from app.engines.messages import Load, Loaded
from app.engines.window_queue import WindowQueue
from app.errors import PermanentError
from app.recordings.recording import REPLACED, Recording, RecordingStore
from app.speech.diarizer import BackgroundDiarization, Diarizer
from app.speech.transcript_cache import TranscriptCache
from app.speech.transcription import Transcription
from app.updates import Append, Checkpoint, Update
from app.work_sharing.sharing import WorkSharing

DIARIZING_SHARE = 0.5  # share of diarization in the progress of a transcription task: both take about the same time


@dataclass(frozen=True, slots=True)
class Transcriber:
    """Transcribes recordings, and attributes words to speakers if the task asks for them."""

    recordings: RecordingStore
    engine: Engine
    transcripts: TranscriptCache
    diarizer: Diarizer
    windows: WindowQueue
    sharing: WorkSharing
    threads: int  # free cores that the search for speakers needs to run beside the transcription

    async def transcribe(self, task: TranscriptionTask, checkpoint: Checkpoint, append: Append) -> TranscriptionResult:
        """Transcribe the recording of a task from the checkpoint on; append updates, and return the result.

        Raises:
            TaskError: The recording or the engine failed, or the task asks for what cannot be done.
            FencedError: Another worker runs the task.
        """
        async with self.recordings.fetch(task.audio_file_id) as recording:
            if checkpoint.audio_sha256 not in {None, recording.sha256}:
                raise PermanentError(ErrorCode.AUDIO_UNREADABLE, REPLACED)
            transcription = await self._transcription(task, recording)
            if task.diarize and checkpoint.diarization_error is None:
                await self._with_speakers(transcription, task, recording, checkpoint, append)
            else:
                await transcription.transcribe(checkpoint, append)
            await recording.check()
            # Copying a day's segments would block the event loop.
            return await asyncio.to_thread(transcription.result)

    async def _transcription(self, task: TranscriptionTask, recording: Recording) -> Transcription:
        loaded = await run_job(self.engine, Load(options=task.options), Loaded)
        return Transcription(
            self.engine,
            self.windows,
            self.sharing.idle_workers(loaded),
            transcripts=self.transcripts,
            recording=recording,
            task=task,
            loaded=loaded,
        )

    async def _with_speakers(
        self,
        transcription: Transcription,
        task: TranscriptionTask,
        recording: Recording,
        checkpoint: Checkpoint,
        append: Append,
    ) -> None:
        """Transcribe, and find the speakers of the segments; if the search for speakers fails, keep the transcript.

        The search runs beside the transcription if cores are free, else after it. If an earlier attempt with some text
        was lost or has failed, the search runs last in any case, because it may have been the cause. With separate
        channels each channel is a speaker, and only `identify` needs a search.
        """
        beside = not (checkpoint.processed_seconds and checkpoint.after_failure)
        cores = Cores()

        async def append_text(update: Update) -> None:
            if transcription.separate and not task.identify:
                await append(update)
                return
            both = (1 - DIARIZING_SHARE) * update.fraction + DIARIZING_SHARE * search.fraction
            await append(replace(update, fraction=both))
            if beside and not transcription.separate and update.text is not None and cores.free(self.threads):
                search.begin()

        async with aclosing(BackgroundDiarization(partial(self.diarizer.turns, task, recording))) as search:
            await transcription.transcribe(checkpoint, append_text)
            channels = transcription.transcript.channels
            if channels is None:
                await self._add_speakers(transcription, task, search, append)
                return
        if task.identify:
            find = partial(self.diarizer.turns_of_channels, task, recording, channels)
            async with aclosing(BackgroundDiarization(find)) as search:
                await self._add_speakers(transcription, task, search, append)

    async def _add_speakers(
        self, transcription: Transcription, task: TranscriptionTask, search: BackgroundDiarization, append: Append
    ) -> None:
        """Wait for the end of a search, and add the speakers that it has found, and whose voices they have."""
        await append(_searching(search, 0.0, transcription.duration))
        async for update in search.progress():
            await append(_searching(search, update.processed_seconds, update.duration_seconds))
        transcript = transcription.transcript
        found = await asyncio.to_thread(transcript.add_speakers, search)
        if found is not None:
            await append(Update(Stage.MERGING, 1.0))
            transcript.identified = await self.diarizer.identify(task, found, transcript.labels(found), append)
        transcription.cached = transcription.cached and found is not None and found.cached


def _searching(search: BackgroundDiarization, seconds: float | None, duration: float | None) -> Update:
    fraction = 1 - DIARIZING_SHARE + DIARIZING_SHARE * search.fraction
    return Update(Stage.DIARIZING, fraction, seconds, duration)
