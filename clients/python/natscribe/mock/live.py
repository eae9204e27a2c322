"""Simulates live tasks: every UTTERANCE_S seconds of audio yield a copy of the AsyncAPI document's example segment."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from nats.js.api import RawStreamMsg

from natscribe.mock.content import moved, result_fields, transcript, with_speakers
from natscribe.mock.log import Log
from natscribe.mock.task import PlayedTask
from natscribe.schemas import examples, subjects
from natscribe.schemas.diarization import Turn
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.headers import END, FINALIZE, MARK_PATTERN
from natscribe.schemas.kinds import Result
from natscribe.schemas.live import LiveAudio, LiveTask, Partial, TurnEvent, TurnState
from natscribe.schemas.progress import MIN_EVENT_INTERVAL_S, Stage
from natscribe.schemas.transcription import Segment, Source, Word

UTTERANCE_S = 4.0  # from the start of an utterance to the start of the next
_UTTERANCE_ENDS_AT_S = examples.SEGMENT.end + 0.6  # after its start: a pause ends an utterance
_OPUS_BYTES_A_SECOND = 4000  # the mock does not decode
_POLL_S = 0.02
_WORDS = tuple(examples.SEGMENT.words or ())

Report = Callable[[str], None]


@dataclass
class ReceivedAudio:
    """Counts the audio frames of a live task that the mock has received, and notes whether they are complete.

    `seconds`: duration of the frames. `sequence`: stream sequence of the last frame. `numbers`: the numbers of the
    frames. `last`: the number of the frame that ends the audio. `error`: why the last frame is invalid. `mark`: that of
    the last frame.
    """

    audio: LiveAudio
    seconds: float = 0.0
    sequence: int = 0  # stream sequence of the last frame
    numbers: set[int] = field(default_factory=set)
    last: int | None = None  # number of the frame that ends the audio
    error: str | None = None  # why the last frame is invalid
    mark: str | None = None  # of the last frame

    @property
    def is_complete(self) -> bool:
        """Whether all frames up to the one that ends the audio were received."""
        return self.last is not None and len(self.numbers) > self.last

    def add(self, frame: RawStreamMsg) -> None:
        """Count a frame, and check its size; a duplicate, or a message without a frame number, is ignored.

        So is a frame with an invalid mark.
        """
        headers, self.sequence, self.mark = frame.headers or {}, frame.seq or 0, None
        number = headers.get("Nats-Msg-Id", "").rpartition("-")[2]
        if not number.isdecimal() or int(number) in self.numbers:
            return
        if FINALIZE in headers and not re.fullmatch(MARK_PATTERN, headers[FINALIZE]):
            return
        self.mark = headers.get(FINALIZE)
        size = len(frame.data or b"")
        self.error = None if END in headers else self.audio.frame_error(int(number), size)
        self.numbers.add(int(number))
        self.seconds += size / (self.audio.sample_rate * self.audio.sample_bytes or _OPUS_BYTES_A_SECOND)
        if END in headers:
            self.last = int(number)


@dataclass
class LiveAttempt:
    """Simulates one attempt of a live task: receives its audio, and appends example segments and partial results."""

    log: Log
    task: PlayedTask
    sent: LiveTask
    report: Report
    partial_words: int = 0  # words of the current utterance that partial results have shown

    def __post_init__(self) -> None:
        self.audio = ReceivedAudio(self.sent.audio)

    async def play(self, *, utterances: int | None) -> Result | ErrorDetail:
        """Receive the task's audio until it ends or stops arriving; return the result of the task.

        If a frame does not contain whole samples, return an error. `utterances`: stop after this number of utterances;
        None: no limit.

        Raises:
            EndedError: A client has cancelled or deleted the task.
        """
        loop = asyncio.get_running_loop()
        idle_at = loop.time() + self.sent.idle_seconds
        while not self.audio.is_complete and loop.time() < idle_at and self._number != utterances:
            await self._append_progress()
            frame = await self.log.next_frame(self.task.task_id, self.audio.sequence)
            if frame is None:
                await self.task.sleep(_POLL_S)
                continue
            idle_at = loop.time() + self.sent.idle_seconds
            self.audio.add(frame)
            if self.audio.error:
                return ErrorDetail(code=ErrorCode.AUDIO_UNREADABLE, message=self.audio.error)
            await self._publish_text(utterances)
            if self.audio.mark is not None:
                await self._finalize(self.audio.mark)
        ready_at = loop.time() + (self.task.script.seconds or 0)
        while loop.time() < ready_at:
            await self._append_progress()
            await self.task.sleep(MIN_EVENT_INTERVAL_S)
        if utterances is None:
            await self._append_end()
        return self._result()

    async def _append_end(self) -> None:
        """Append the segment of the last utterance and, with `diarize`, an event that makes all speakers final."""
        if self._words():
            await self._append_segment(self.audio.seconds)
        if self.sent.diarize and self._number:
            async with self.task.appending():
                await self.log.append_speakers(self.task, [], round(self.audio.seconds, 3))

    async def _publish_text(self, utterances: int | None) -> None:
        """Append the segments of ended utterances, and publish a partial result of the current utterance.

        `utterances`: append no segments after this number of utterances; None: no limit.
        """
        while self._number != utterances and self.audio.seconds >= (end := self._start + _UTTERANCE_ENDS_AT_S):
            await self._append_segment(end)
            self.report(f"{self.task.task_id}: segments up to {end:.1f} s")
            self.partial_words = 0
        words = self._words()
        if words and not self.partial_words:
            await self._publish_turn(TurnState.STARTED)
        if len(words) > self.partial_words:
            self.partial_words = len(words)
            await self.log.publish(subjects.partials(self.task.task_id), self._partial(words))

    async def _finalize(self, mark: str) -> None:
        """Append the segment of the utterance so far, or none if it has no words yet, with the mark."""
        if self._words():
            self.task.cuts[self._number] = self.audio.seconds
            await self._append_segment(self.audio.seconds, mark)
            self.partial_words = 0
        else:
            async with self.task.appending():
                await self.log.append_segment(self.task, None, self.audio.seconds, mark)

    async def _append_segment(self, processed_seconds: float, mark: str | None = None) -> None:
        number = self._number
        segment = self._segment(number, processed_seconds)
        if not (self.sent.word_timestamps or self.sent.diarize):
            segment = segment.model_copy(update={"words": None})
        if not self.partial_words:
            await self._publish_turn(TurnState.STARTED)
        await self._publish_turn(TurnState.EAGER_END, segment.text)
        await self._store(number, segment, processed_seconds, mark)
        await self._publish_turn(TurnState.ENDED, segment.text, number)

    async def _store(self, number: int, segment: Segment, processed_seconds: float, mark: str | None) -> None:
        async with self.task.appending():
            if not self.sent.diarize:
                await self.log.append_segment(self.task, segment, processed_seconds, mark)
                return
            # As in the service, the second person is recognized a little later.
            published = segment.model_copy(update={"speaker": None}) if number == 1 else segment
            await self.log.append_segment(self.task, published, processed_seconds, mark)
            if number == 1 and segment.speaker:
                turn = Turn(start=segment.start, end=segment.end, speaker=segment.speaker)
                await self.log.append_speakers(self.task, [turn], 0.0)

    async def _publish_turn(self, state: TurnState, text: str = "", number: int | None = None) -> None:
        """Publish an event of the turn of an utterance, by default the current one, if the task has turns."""
        if self.sent.turns:
            start = (self._number if number is None else number) * UTTERANCE_S + examples.SEGMENT.start
            fields = {"task_id": self.sent.task_id, "start": start, "end": self.audio.seconds}
            event = TurnEvent(state=state, text=text, **fields)
            await self.log.publish(subjects.turns(self.sent.task_id), event)

    async def _append_progress(self) -> None:
        done = min(self._start, self.audio.seconds)
        lag = self.audio.seconds - done
        await self.log.append_progress(self.task, stage=Stage.TRANSCRIBING, processed_seconds=done, lag_seconds=lag)

    @property
    def _number(self) -> int:
        """The number of the current utterance, from 0."""
        return self.task.batches - self.task.silent_batches

    @property
    def _start(self) -> float:
        """The time in seconds at which the current utterance starts, from the start of the audio."""
        return self._number * UTTERANCE_S

    def _words(self) -> list[Word]:
        return _words(self._number, self.audio.seconds)

    def _segment(self, number: int, seconds: float) -> Segment:
        words = _words(number, seconds)
        language = self.sent.language or examples.SEGMENT.language
        fields = {"end": words[-1].end, "text": _text(words), "language": language, "words": words}
        segments = [moved(examples.SEGMENT, number * UTTERANCE_S).model_copy(update=fields)]
        return with_speakers(segments, self.sent, first=number)[0] if self.sent.diarize else segments[0]

    def _partial(self, words: list[Word]) -> Partial:
        return Partial(
            task_id=self.sent.task_id,
            start=words[0].start,
            end=self.audio.seconds,
            stable=_text(words[:-1]),
            text=_text(words),
            language=self.sent.language or examples.SEGMENT.language,
            speaker=self._segment(self._number, self.audio.seconds).speaker,
        )

    def _result(self) -> Result:
        ends = [self.task.cuts.get(number, self.audio.seconds) for number in range(self._number)]
        segments = [self._segment(number, end) for number, end in enumerate(ends)]
        if not self.sent.word_timestamps:
            segments = [segment.model_copy(update={"words": None}) for segment in segments]
        duration = round(self.audio.seconds, 3)
        fields = result_fields(self.sent, duration, None) | {"source": Source.LIVE} | transcript(self.sent, segments)
        return examples.RESULT.model_copy(update=fields)


def _words(number: int, seconds: float) -> list[Word]:
    """Return the words of utterance `number` (from 0) that end within the first `seconds` of the audio."""
    words = (moved(word, number * UTTERANCE_S) for word in _WORDS)
    return [word for word in words if word.end <= seconds]


def _text(words: list[Word]) -> str:
    return "".join(word.word for word in words).strip()
