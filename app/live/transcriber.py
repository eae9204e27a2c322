"""The live transcriber: transcribes a live task utterance by utterance, and finds its speakers at the end."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from nats.aio.client import Client
from natscribe.schemas import subjects
from natscribe.schemas.live import LiveTask, Partial
from natscribe.schemas.progress import Stage
from natscribe.schemas.sharing import Window, WindowText
from natscribe.schemas.transcription import Source

from app.cancellation import cancel_all
from app.engines.engine import Engine, answer
from app.engines.messages import Load, Loaded, StageAdvanced
from app.engines.window_queue import Rank, WindowQueue
from app.live.ear import Ear
from app.live.frames import Frames
from app.live.partials import Partials
from app.live.source import LiveSource
from app.speech.run import Run
from app.speech.transcript import TaskTranscript
from app.updates import Append, Checkpoint, Update, processed


class LiveTranscriber:
    """Transcribes live tasks with the engine, several at the same time."""

    def __init__(self, nats: Client, stream: str, engine: Engine, windows: WindowQueue) -> None:
        """`stream` holds the frames."""
        self._nats = nats
        self._stream = stream
        self._engine = engine
        self._windows = windows
        self._ear = Ear(engine)

    async def run(self, task: LiveTask, checkpoint: Checkpoint, append: Append) -> None:
        """Transcribe a live task from the checkpoint on until its sound ends; append updates, then the result.

        Raises:
            TaskError: The sound cannot be read, or the engine failed.
            FencedError: Another worker runs the task.
        """
        loaded = await answer(self._engine, Load(options=task.options), Loaded)
        source = LiveSource(self._ear, Frames(self._nats, self._stream, task), task, checkpoint.reached)
        live = _Live(task, source, checkpoint)
        run = Run(live.windows(), self._windows, None, task.options, checkpoint.language, rank=Rank.LIVE)
        partials = Partials(task, source, self._windows, self._publish)
        source.show = partials.wanted
        looking = asyncio.create_task(partials.run())
        try:
            async with aclosing(run.texts()) as texts:
                async for each in texts:
                    partials.language = run.language
                    await append(live.update(each))
        finally:
            await cancel_all([looking])
        live.transcript.untranscribed += source.missing
        result = live.transcript.result(
            duration=source.seconds, model=loaded.model, source=Source.LIVE, audio_sha256=None
        )
        await append(result)

    async def close(self) -> None:
        """Stop hearing."""
        await self._ear.close()

    async def _publish(self, partial: Partial) -> None:
        subject, body = subjects.partials(partial.task_id), partial.model_dump_json().encode()
        await self._nats.publish(subject, body, headers={"content-type": "application/json"})


class _Live:
    """A live task that is transcribed: its text so far, and how far the text is behind the sound."""

    def __init__(self, task: LiveTask, source: LiveSource, checkpoint: Checkpoint) -> None:
        self._source = source
        self.transcript = TaskTranscript(task)
        self.transcript.go_on_from(checkpoint)
        self.transcript.channels = len(source.channels) if source.channels != [None] else None
        self._waiting: deque[tuple[int | None, float]] = deque()  # channel and end of utterances without text

    async def windows(self) -> AsyncGenerator[StageAdvanced | Window, None]:
        """Yield what the source yields, and note the utterances that wait for their text."""
        async with aclosing(self._source.windows()) as windows:
            async for each in windows:
                if isinstance(each, Window):
                    self._waiting.append((each.channel, each.end))
                yield each

    def update(self, found: StageAdvanced | WindowText) -> Update:
        """Make an update of what a run yields."""
        if isinstance(found, StageAdvanced):
            return replace(processed(found.stage, found.processed_seconds, None), lag_seconds=self._lag)
        while self._waiting and self._waiting[0] != (found.channel, found.end):
            self._waiting.popleft()
        if self._waiting:
            self._waiting.popleft()
        update = processed(Stage.TRANSCRIBING, found.end, None)
        return replace(update, text=self.transcript.add(found), lag_seconds=self._lag)

    @property
    def _lag(self) -> float:
        """Seconds of published sound behind the text, without an utterance that is still being spoken."""
        behind = self._source.seconds - self._waiting[0][1] if self._waiting else 0.0
        return self._source.waiting_seconds + max(behind, 0.0)
