"""Plays live tasks: each UTTERANCE_S of sound counts as the segment in the AsyncAPI document's examples."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from nats.js.api import RawStreamMsg

from natscribe.mock.content import moved, transcript
from natscribe.mock.log import Log
from natscribe.mock.task import PlayedTask
from natscribe.schemas import examples
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.headers import END
from natscribe.schemas.kinds import Result
from natscribe.schemas.live import Codec, LiveAudio, LiveTask, Partial
from natscribe.schemas.progress import MIN_EVENT_INTERVAL_S, Stage, State
from natscribe.schemas.transcription import Segment, Source, Word

UTTERANCE_S = 4.0  # from the beginning of one utterance to the next
_OVER_AFTER_S = examples.SEGMENT.end + 0.6  # a pause ends an utterance
_OPUS_BYTES = 4000  # in a second: the mock does not decode
_LOOK_EVERY_S = 0.02
_WORDS = tuple(examples.SEGMENT.words or ())

Report = Callable[[str], None]


@dataclass
class Heard:
    """The sound of a task up to now."""

    audio: LiveAudio
    seconds: float = 0.0
    after: int = 0  # stream sequence of the last frame
    numbers: set[int] = field(default_factory=set)
    last: int | None = None  # number of the frame that ends the sound
    error: str | None = None  # why the last frame is invalid

    @property
    def is_whole(self) -> bool:
        """Whether all frames up to the last one are there."""
        return self.last is not None and len(self.numbers) > self.last

    def add(self, frame: RawStreamMsg) -> None:
        """Add a frame, unless it has no number, or one that was added before."""
        headers, self.after = frame.headers or {}, frame.seq or 0
        number = headers.get("Nats-Msg-Id", "").rpartition("-")[2]
        if not number.isdecimal() or int(number) in self.numbers:
            return
        self.error = None if END in headers else self.audio.frame_error(int(number), len(frame.data or b""))
        self.numbers.add(int(number))
        self.seconds += len(frame.data or b"") / _bytes_in_a_second(self.audio)
        if END in headers:
            self.last = int(number)


async def hear(
    log: Log, task: PlayedTask, order: LiveTask, report: Report, *, only: int | None
) -> Result | ErrorDetail:
    """Play an attempt to the end of its sound, or until `only` utterances have segments.

    Return its result, or the error of a frame that does not hold whole samples.

    Raises:
        EndedError: A client has cancelled or deleted the task.
    """
    heard, said = Heard(order.audio), 0  # words that were told of the utterance that is not over
    loop = asyncio.get_running_loop()
    silent_at = loop.time() + order.idle_seconds
    while not heard.is_whole and loop.time() < silent_at and task.batches != only:
        await _progress(log, task, heard)
        frame = await log.next_frame(task.task_id, heard.after)
        if frame is None:
            await task.sleep(_LOOK_EVERY_S)
            continue
        silent_at = loop.time() + order.idle_seconds
        heard.add(frame)
        if heard.error:
            return ErrorDetail(code=ErrorCode.AUDIO_UNREADABLE, message=heard.error)
        while task.batches != only and heard.seconds >= (over := _begin(task.batches) + _OVER_AFTER_S):
            await _say(log, task, _segment(order, task.batches, _words_in(over, task.batches)), over)
            report(f"{task.task_id}: segments up to {over:.1f} s")
            said = 0
        words = _words_in(heard.seconds, task.batches)
        if len(words) > said:
            said = len(words)
            await log.publish_partial(_partial(order, words, heard.seconds))
    ready_at = loop.time() + (task.script.seconds or 0)
    while loop.time() < ready_at:
        await _progress(log, task, heard)
        await task.sleep(MIN_EVENT_INTERVAL_S)
    words = _words_in(heard.seconds, task.batches)
    if words and only is None:
        await _say(log, task, _segment(order, task.batches, words), heard.seconds)
    return _result(order, task.batches, heard.seconds)


async def _say(log: Log, task: PlayedTask, segment: Segment, processed_seconds: float) -> None:
    async with task.turn():
        await log.append_segments(task, [segment], processed_seconds)


async def _progress(log: Log, task: PlayedTask, heard: Heard) -> None:
    """Append `running`, unless the last event is less than a second old."""
    last, done = task.last, min(_begin(task.batches), heard.seconds)
    if last is None or (datetime.now(timezone.utc) - last.time).total_seconds() >= MIN_EVENT_INTERVAL_S:
        async with task.turn():
            await log.append(
                task,
                State.RUNNING,
                stage=Stage.TRANSCRIBING,
                processed_seconds=done,
                lag_seconds=heard.seconds - done,
            )


def _bytes_in_a_second(audio: LiveAudio) -> int:
    if audio.codec is Codec.OPUS:
        return _OPUS_BYTES
    return audio.sample_rate * audio.channels * (2 if audio.codec is Codec.PCM_S16LE else 1)


def _begin(number: int) -> float:
    return number * UTTERANCE_S


def _words_in(seconds: float, number: int) -> list[Word]:
    """Return the words of an utterance that are heard within the first seconds of the sound."""
    return [moved(word, _begin(number)) for word in _WORDS if _begin(number) + word.end <= seconds]


def _segment(order: LiveTask, number: int, words: list[Word]) -> Segment:
    language = order.language or examples.SEGMENT.language
    fields = {"end": words[-1].end, "text": _text(words), "language": language}
    with_text = order.word_timestamps or order.diarize
    return moved(examples.SEGMENT, _begin(number)).model_copy(update=fields | {"words": words if with_text else None})


def _partial(order: LiveTask, words: list[Word], heard_seconds: float) -> Partial:
    return Partial(
        task_id=order.task_id,
        start=words[0].start,
        end=heard_seconds,
        stable=_text(words[:-1]),
        text=_text(words),
        language=order.language or examples.SEGMENT.language,
    )


def _text(words: list[Word]) -> str:
    return "".join(word.word for word in words).strip()


def _result(order: LiveTask, utterances: int, seconds: float) -> Result:
    found = [_segment(order, number, _words_in(seconds, number)) for number in range(utterances)]
    if not order.word_timestamps:
        found = [each.model_copy(update={"words": None}) for each in found]
    fields: dict[str, object] = {
        "task_id": order.task_id,
        "audio_file_id": order.audio_file_id,
        "user_id": order.user_id,
        "duration": round(seconds, 3),
        "source": Source.LIVE,
        "audio_sha256": None,
        "created_at": datetime.now(timezone.utc),
    }
    return examples.RESULT.model_copy(update=fields | transcript(order, found))
