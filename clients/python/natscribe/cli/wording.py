"""Formats events, results, times and progress as text for people."""

from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import groupby

from natscribe.formats import with_names
from natscribe.schemas.diarization import DiarizationResult
from natscribe.schemas.kinds import Result
from natscribe.schemas.progress import MAX_EVENT_INTERVAL_S, ProgressEvent, State, TaskState, Waiting
from natscribe.schemas.transcription import Segment

SILENT_AFTER_S = MAX_EVENT_INTERVAL_S + 2  # without an event for this time a worker may be lost

MIN_SHOWN_LAG_S = 5.0  # less may be an utterance in progress


def clock(seconds: float) -> str:
    """Format a duration, or a position in a recording, in seconds as `2:03` or `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def interval(start: float, end: float) -> str:
    """Format an interval of a recording, in seconds, to a tenth of a second: `0:06.2-0:07.9`."""
    return "-".join(f"{clock(tenths / 10)}.{tenths % 10}" for tenths in (round(10 * start), round(10 * end)))


def to_the_minute(moment: datetime) -> str:
    """Format a date and time in local time, to the minute."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def shortened(name: str, max_chars: int) -> str:
    """Elide the middle of a name with more than `max_chars` characters: names often differ only at their end."""
    end = max_chars // 2
    return name if len(name) <= max_chars else f"{name[: max_chars - end - 1]}…{name[-end:]}"


def seconds_since(moment: datetime) -> float:
    """Return the seconds from a moment until now."""
    return (datetime.now(timezone.utc) - moment).total_seconds()


def position_text(task: Waiting) -> str:
    """Format a clause such as `, position 3, behind 2:00 of audio`; empty if the task has no position in the queue."""
    position = f", position {task.queue_position}" if task.queue_position else ""
    return f"{position}, behind {clock(task.seconds_ahead)} of audio" if task.seconds_ahead else position


def start_text(not_before: datetime | None) -> str:
    """Format a clause such as ` for 2026-11-24 18:40`, the earliest start of a scheduled task; empty for None."""
    return f" for {to_the_minute(not_before)}" if not_before else ""


def lag_text(lag_seconds: float) -> str:
    """Format a live task's lag behind its audio as a clause such as `, 0:12 behind`; empty if the lag is small."""
    return f", {clock(lag_seconds)} behind" if lag_seconds >= MIN_SHOWN_LAG_S else ""


def speakers_text(speakers: int | None) -> str:
    """Return the number of speakers of a live task, in words; empty if there is none yet, or it is unknown."""
    return f"{speakers} speaker{'s' * (speakers > 1)}" if speakers else ""


def progress_text(task: TaskState) -> str:
    """Format the progress of a task: a percentage or, for a live task, its speakers and the lag of its text."""
    if task.lag_seconds is None:
        return f"{task.progress} %"
    speakers = f", {speakers_text(task.speakers)}" if task.speakers else ""
    return f"live{speakers}{lag_text(task.lag_seconds)}"


def describe(event: ProgressEvent, *, age: float = 0.0, reason: bool = True) -> str:
    """Describe a progress event in a few words.

    `age`: how many seconds ago the event arrived. `reason`: whether to include the error of the event.
    """
    why = f": {event.error.message} ({event.error.code})" if event.error and reason else ""
    if event.state is State.RUNNING:
        return _running(event, age)
    if event.state is State.SCHEDULED:
        return f"scheduled{start_text(event.not_before)}"
    if event.state is State.QUEUED:
        return f"queued{position_text(event)}"
    if event.state is State.RETRYING:
        when = f" at {event.retry_at.astimezone():%H:%M:%S}" if event.retry_at else ""
        return f"attempt {event.attempt} of {event.max_attempts} failed, trying again{when}{why}"
    return f"{event.state}{why}"


def segment_line(segment: Segment) -> str:
    """Format a segment as a line: its start, speaker and text."""
    speaker = f"{segment.speaker}: " if segment.speaker else ""
    return f"[{clock(segment.start)}] {speaker}{segment.text.strip()}"


def has_speakers(result: Result) -> bool:
    """Whether speakers are assigned to any segments or turns of a result."""
    return any(segment.speaker for segment in result.segments)


def turns(result: Result) -> Iterator[tuple[str, str, str]]:
    """Yield the time, the speaker and the text of each turn, or of each segment if there are no speakers.

    The time is the start of the turn; for a diarization, whose turns have no text, it is the interval.
    """
    result = with_names(result)
    if isinstance(result, DiarizationResult):
        yield from ((interval(turn.start, turn.end), turn.speaker, "") for turn in result.segments)
        return
    if not has_speakers(result):
        yield from ((clock(segment.start), "", segment.text.strip()) for segment in result.segments)
        return
    for speaker, segments in groupby(result.segments, key=lambda segment: segment.speaker or "(unknown)"):
        turn = list(segments)
        yield clock(turn[0].start), speaker, " ".join(segment.text.strip() for segment in turn)


def _running(event: ProgressEvent, age: float) -> str:
    parts = [str(event.stage or event.state)]
    if event.processed_seconds is not None and event.duration_seconds is not None:
        parts.append(f"{clock(event.processed_seconds)} of {clock(event.duration_seconds)}")
    if event.lag_seconds is not None:
        parts.append(
            f"{clock((event.processed_seconds or 0) + event.lag_seconds)} of audio{lag_text(event.lag_seconds)}"
        )
    if age > SILENT_AFTER_S:
        parts.append(f"no event for {clock(age)}")
    elif event.eta_seconds is not None and event.eta_seconds - age >= 1:
        parts.append(f"about {clock(event.eta_seconds - age)} left")
    if event.attempt > 1:
        parts.append(f"attempt {event.attempt}")
    return ", ".join(parts)
