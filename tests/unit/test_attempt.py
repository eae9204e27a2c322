"""An attempt speaks often enough, not too often, and never backwards."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import pytest

from app.delivery.attempt import TaskAttempt
from app.delivery.lost_speakers import speakers_are_given_up
from app.errors import OvertakenError
from app.log.entry import Entry, Facts
from app.log.results import ResultStore
from app.log.task_log import Batch, TaskLog
from app.updates import Advanced, Checkpoint, Found, Result
from schemas.progress import ProgressEvent, Stage, State
from schemas.transcription import SegmentsEvent, Stretch, TranscriptionResult
from schemas.wire import Kind, Model
from tests.fakes.engine import segment

FACTS = Facts(None, 1, "tasks.transcription.high", datetime.now(UTC))


@dataclass
class FakeLog:
    """Keeps what is appended; `stolen` means that somebody else was faster."""

    worker: str = "w"
    events: list[ProgressEvent] = field(default_factory=list)
    found: list[tuple[SegmentsEvent, int]] = field(default_factory=list)
    stolen: bool = False
    stored: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledges: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.acknowledges.set()

    async def append(self, event: ProgressEvent, facts: Facts, *, after: int) -> Entry:
        if self.stolen or after != len(self.events):
            raise OvertakenError
        self.events.append(event)
        self.stored.set()
        await self.acknowledges.wait()
        return Entry(event, facts, len(self.events))

    async def append_segments(self, event: SegmentsEvent, _: Facts, __: str, *, after: int) -> int:
        assert after == (self.found[-1][1] if self.found else 0)
        self.found.append((event, after + 1))
        return after + 1

    async def segments(self, _: str) -> AsyncIterator[Batch]:
        for event, sequence in self.found:
            yield Batch(event, "sha", sequence, FACTS.task_sequence)

    async def purge_segments(self, _: str, *, up_to: int) -> None:
        assert up_to
        self.found.clear()

    async def last(self, _: str) -> Entry | None:
        return Entry(self.events[-1], FACTS, len(self.events)) if self.events else None


@dataclass
class FakeResults:
    """Keeps what is published."""

    published: list[Result] = field(default_factory=list)

    async def publish(self, result: Result, _: Facts) -> None:
        self.published.append(result)

    async def delete(self, _: str, *, of: int) -> None:
        assert of == FACTS.task_sequence
        self.published.clear()


RESULT = TranscriptionResult(
    task_id="t1",
    audio_file_id="meeting.flac",
    user_id=7,
    text="one two",
    language="en",
    duration=10,
    segments=[segment(0)],
    model=Model(name="fake", revision="0"),
    audio_sha256="0" * 64,
    created_at=datetime.now(UTC),
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("app.delivery.attempt.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def log() -> FakeLog:
    queued = ProgressEvent(
        task_id="t1",
        kind=Kind.TRANSCRIPTION,
        state=State.QUEUED,
        max_attempts=4,
        sequence=1,
        time=datetime.now(UTC),
    )
    return FakeLog(events=[queued])


@pytest.fixture
def results() -> FakeResults:
    return FakeResults()


def attempt_on(log: FakeLog, results: FakeResults | None = None) -> TaskAttempt:
    entry = Entry(log.events[-1], FACTS, len(log.events))
    return TaskAttempt(cast("TaskLog", log), cast("ResultStore", results), entry)


@pytest.fixture
async def attempt(log: FakeLog, results: FakeResults, clock: list[float]) -> TaskAttempt:
    started = attempt_on(log, results)
    await started.start()
    return started


async def test_it_speaks_at_most_once_a_second(attempt: TaskAttempt, log: FakeLog, clock: list[float]) -> None:
    for tenth in range(1, 31):
        clock[0] += 0.1
        await attempt.append(Advanced(Stage.TRANSCRIBING, tenth / 30, tenth, 30))
    assert len([event for event in log.events if event.state is State.RUNNING]) in {3, 4}


async def test_what_came_too_soon_is_said_later(attempt: TaskAttempt, log: FakeLog, clock: list[float]) -> None:
    clock[0] += 0.5
    await attempt.append(Advanced(Stage.DECODING, 0.0, 0, 30))
    said = log.events[-1]
    assert said.stage is Stage.FETCHING
    clock[0] += 0.6
    await attempt.tick()
    assert log.events[-1].stage is Stage.DECODING


async def test_it_is_heard_from_though_nothing_is_new(attempt: TaskAttempt, log: FakeLog, clock: list[float]) -> None:
    said = len(log.events)
    for _ in range(30):
        clock[0] += 1
        await attempt.tick()
    assert len(log.events) - said == 3


async def test_progress_never_falls_and_never_says_done_too_soon(
    attempt: TaskAttempt, log: FakeLog, clock: list[float]
) -> None:
    for fraction in (0.5, 0.3, 1.0):
        clock[0] += 1
        await attempt.append(Advanced(Stage.TRANSCRIBING, fraction, 15, 30))
    assert [event.progress for event in log.events[2:]] == [50, 50, 99]


async def test_the_rest_is_estimated_from_the_pace(attempt: TaskAttempt, log: FakeLog, clock: list[float]) -> None:
    clock[0] += 5
    await attempt.append(Advanced(Stage.TRANSCRIBING, 0.0, 0, 100))
    clock[0] += 10
    await attempt.append(Advanced(Stage.TRANSCRIBING, 0.25, 25, 100))
    assert log.events[-1].eta_seconds == 30


async def test_the_rest_does_not_grow_while_the_work_is_waited_for(
    attempt: TaskAttempt, log: FakeLog, clock: list[float]
) -> None:
    # Given an attempt that has done a quarter in ten seconds
    clock[0] += 5
    await attempt.append(Advanced(Stage.TRANSCRIBING, 0.0, 0, 100))
    clock[0] += 10
    await attempt.append(Advanced(Stage.TRANSCRIBING, 0.25, 25, 100))
    # When it says nothing new for a while, then for very long
    rests = []
    for silence in (8, 8, 100):
        clock[0] += silence
        await attempt.tick()
        rests.append(log.events[-1].eta_seconds)
    # Then the rest is the less by that, and never below nothing
    assert rests == [22, 14, 0]


async def test_who_comes_after_goes_on_where_the_segments_end(log: FakeLog, clock: list[float]) -> None:
    # Given an attempt that found two windows and was lost
    lost = attempt_on(log)
    await lost.start()
    for number in (0, 1):
        await lost.append(Found("en", (number + 1) * 10.0, (segment(number),), "sha"))
    # When another one starts
    following = attempt_on(log)
    await following.start()
    # Then it knows what is done, and in which recording, and appends behind it
    assert following.checkpoint.processed_seconds == 20
    assert following.checkpoint.audio_sha256 == "sha"
    assert following.checkpoint.segments == (segment(0), segment(1))
    await following.append(Found("en", 30.0, (segment(2),), "sha"))
    assert [event.sequence for event, _ in log.found] == [1, 2, 3]
    # And the lost one cannot speak any more
    with pytest.raises(OvertakenError):
        await lost.give_back()


async def test_channels_and_stretches_without_text_outlive_a_lost_worker(log: FakeLog, clock: list[float]) -> None:
    # Given an attempt that was lost in the second channel, and found no text in a part of each
    lost = attempt_on(log)
    await lost.start()
    on = [segment(number).model_copy(update={"channel": number, "speaker": f"SPEAKER_0{number}"}) for number in (0, 1)]
    missing = [Stretch(start=8, end=9.5), Stretch(start=3, end=4.5)]
    for channel, language in enumerate(["en", "ru"]):
        await lost.append(Found(language, 10.0, (on[channel],), "sha", channel, (missing[channel],)))
    # When another one starts
    following = attempt_on(log)
    await following.start()
    # Then it goes on in that channel, after its language, and nothing of before is lost
    assert following.checkpoint == Checkpoint(
        language="ru",
        channel=1,
        processed_seconds=10,
        segments=tuple(on),
        untranscribed=tuple(missing),
        audio_sha256="sha",
        after_trouble=True,
    )
    # And whoever follows the segments is told each of it once
    assert [(event.channel, event.untranscribed) for event, _ in log.found] == [(0, missing[:1]), (1, missing[1:])]


async def test_how_long_the_recording_is_stays_known(attempt: TaskAttempt, log: FakeLog, clock: list[float]) -> None:
    # Given an attempt that knows how long its recording is
    await attempt.append(Advanced(Stage.DIARIZING, 0.5, 5, 60))
    # When a stage is told that goes over no audio
    clock[0] += 10
    await attempt.append(Advanced(Stage.MERGING, 1.0))
    # Then that is still known, to clients and to the metrics
    assert (log.events[-1].stage, log.events[-1].duration_seconds) == (Stage.MERGING, 60)
    assert attempt.audio_seconds == 60


async def test_it_notices_that_somebody_else_has_spoken(attempt: TaskAttempt, log: FakeLog) -> None:
    await attempt.check(log.events[-1].sequence)  # our own
    log.events.append(log.events[-1].model_copy(update={"state": State.CANCELLED, "sequence": 3}))
    with pytest.raises(OvertakenError):
        await attempt.check(3)


async def test_what_the_stream_has_refused_overtakes_nobody(attempt: TaskAttempt) -> None:
    await attempt.check(99)  # heard on the subject, but not in the log


async def test_what_goes_on_in_the_same_attempt_does_not_fall_back(log: FakeLog, clock: list[float]) -> None:
    # Given an attempt that was given back at 57 percent
    first = attempt_on(log)
    await first.start()
    clock[0] += 1
    await first.append(Advanced(Stage.TRANSCRIBING, 0.57, 57, 100))
    await first.give_back()
    # When another worker goes on
    following = attempt_on(log)
    await following.start()
    clock[0] += 1
    await following.append(Advanced(Stage.DECODING, 0.5, 50, 100))
    # Then clients see no step back
    assert following.number == 1
    assert [event.progress for event in log.events[-4:]] == [57, 57, 57, 57]


async def test_a_new_attempt_says_how_far_it_is_itself(log: FakeLog, clock: list[float]) -> None:
    # Given an attempt that was lost at 57 percent
    lost = attempt_on(log)
    await lost.start()
    clock[0] += 1
    await lost.append(Advanced(Stage.TRANSCRIBING, 0.57, 57, 100))
    # When the next one is at ten
    following = attempt_on(log)
    await following.start()
    clock[0] += 1
    await following.append(Advanced(Stage.DECODING, 0.1, 10, 100))
    # Then it says so
    assert following.number == 2
    assert [event.progress for event in log.events[-3:]] == [57, 0, 10]


async def test_the_estimate_of_a_resumed_attempt_counts_only_what_it_has_done(
    attempt: TaskAttempt, log: FakeLog, clock: list[float]
) -> None:
    # Given an attempt that begins in the middle
    clock[0] += 5
    await attempt.append(Advanced(Stage.DECODING, 0.5, 50, 100))
    # When it has done a quarter in ten seconds
    clock[0] += 10
    await attempt.append(Advanced(Stage.TRANSCRIBING, 0.75, 75, 100))
    # Then the last quarter takes ten more
    assert log.events[-1].eta_seconds == 10


@pytest.mark.parametrize(
    ("state", "attempt_number", "stage", "kind", "given_up"),
    [
        (State.RUNNING, 4, Stage.DIARIZING, Kind.TRANSCRIPTION, True),
        (State.RETRYING, 4, Stage.DIARIZING, Kind.TRANSCRIPTION, True),
        (State.RUNNING, 3, Stage.DIARIZING, Kind.TRANSCRIPTION, False),
        (State.RUNNING, 4, Stage.TRANSCRIBING, Kind.TRANSCRIPTION, False),
        (State.RUNNING, 4, Stage.DIARIZING, Kind.DIARIZATION, False),
        (State.QUEUED, 4, Stage.DIARIZING, Kind.TRANSCRIPTION, False),
    ],
)
def test_speakers_are_given_up_after_the_last_attempt_only(
    log: FakeLog, state: State, attempt_number: int, stage: Stage, kind: Kind, given_up: bool
) -> None:
    changes = {"state": state, "attempt": attempt_number, "stage": stage, "kind": kind}
    assert speakers_are_given_up(log.events[0].model_copy(update=changes)) is given_up


def somebody_says(log: FakeLog, state: State) -> None:
    last = log.events[-1]
    log.events.append(last.model_copy(update={"state": state, "sequence": last.sequence + 1, "worker": "other"}))


@pytest.mark.parametrize("news", [Found("en", 10.0, (segment(0),), "sha"), RESULT])
async def test_who_was_overtaken_publishes_nothing(
    attempt: TaskAttempt, log: FakeLog, results: FakeResults, news: Found | Result
) -> None:
    # Given an attempt that another worker has taken over, and which has not heard of it
    somebody_says(log, State.RUNNING)
    # When it comes with segments or a result
    with pytest.raises(OvertakenError):
        await attempt.append(news)
    # Then they go nowhere
    assert (log.found, results.published) == ([], [])


@pytest.mark.parametrize(
    ("state", "kept"), [(State.CANCELLED, False), (State.FAILED, False), (State.COMPLETED, True), (State.RUNNING, True)]
)
async def test_a_result_is_withdrawn_from_cancelled_and_failed_tasks_only(
    attempt: TaskAttempt,
    log: FakeLog,
    results: FakeResults,
    monkeypatch: pytest.MonkeyPatch,
    state: State,
    kept: bool,
) -> None:
    # Given an attempt that published its result while somebody else wrote into its log
    publish = results.publish

    async def meanwhile(result: Result, facts: Facts) -> None:
        await publish(result, facts)
        somebody_says(log, state)

    monkeypatch.setattr(results, "publish", meanwhile)
    with pytest.raises(OvertakenError):
        await attempt.append(RESULT)
    # When it gives up
    withdrawn = await attempt.withdraw(await log.last("t1"))
    # Then the result goes with a task that ended without one; else whoever goes on needs it
    assert (bool(results.published), withdrawn) == (kept, not kept)


async def test_a_result_is_withdrawn_where_its_task_was_deleted(
    attempt: TaskAttempt, log: FakeLog, results: FakeResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an attempt that published its result while its task was deleted
    publish = results.publish

    async def meanwhile(result: Result, facts: Facts) -> None:
        await publish(result, facts)
        log.events.clear()

    monkeypatch.setattr(results, "publish", meanwhile)
    with pytest.raises(OvertakenError):
        await attempt.append(RESULT)
    # When it gives up, then nothing is left of the task
    await attempt.withdraw(await log.last("t1"))
    assert results.published == []


async def test_a_stop_while_an_acknowledgement_is_awaited_is_no_lost_worker(
    attempt: TaskAttempt, log: FakeLog, clock: list[float]
) -> None:
    # Given an attempt whose word is stored, but not acknowledged yet
    log.stored.clear()
    log.acknowledges.clear()
    clock[0] += 1
    saying = asyncio.create_task(attempt.append(Advanced(Stage.DECODING, 0.0, 0, 30)))
    await log.stored.wait()
    # When it is cancelled, and the acknowledgement comes after that
    saying.cancel()
    log.acknowledges.set()
    with pytest.raises(asyncio.CancelledError):
        await saying
    # Then it knows what it has said, and can give its task back
    await attempt.give_back()
    assert [event.state for event in log.events] == [State.QUEUED, State.RUNNING, State.RUNNING, State.QUEUED]
    assert attempt_on(log).number == 1


@pytest.mark.parametrize("lost", [True, False])
async def test_who_comes_after_knows_whether_the_one_before_was_in_trouble(
    log: FakeLog, clock: list[float], lost: bool
) -> None:
    # Given an attempt whose worker was lost, or told to stop
    before = attempt_on(log)
    await before.start()
    if not lost:
        await before.give_back()
    # When another one starts
    following = attempt_on(log)
    await following.start()
    # Then it knows, and counts only the lost one as an attempt
    assert following.checkpoint.after_trouble == lost
    assert following.number == (2 if lost else 1)
