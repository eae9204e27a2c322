"""An attempt speaks often enough, not too often, and never backwards."""

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from app.errors import FencedError
from app.execution.attempt import TaskAttempt, speakers_are_given_up
from app.task_log.record import Metadata, NoResult
from app.task_log.results import ResultStore
from app.telemetry.tracing import OFF, StageSpans
from app.updates import Checkpoint, Found, Result, Update
from schemas.errors import ErrorCode, ErrorDetail
from schemas.progress import ProgressEvent, Stage, State
from schemas.transcription import Segment, Stretch, TranscriptionResult
from schemas.wire import Kind, Model
from tests.fakes.engine import segment
from tests.fakes.task_log import InMemoryTaskLog

METADATA = Metadata(None, 1, "tasks.transcription.high", datetime.now(UTC))


class FakeResults:
    """Publishes results that fit into a message, and counts the objects that are deleted."""

    def __init__(self, log: InMemoryTaskLog) -> None:
        self._log = log
        self.deleted_objects = 0

    async def publish(self, result: Result, metadata: Metadata) -> None:
        await self._log.append_result(result.task_id, result.model_dump_json().encode(), metadata)

    async def delete(self, task_id: str, *, of: int) -> None:
        await self._log.purge_outcome(task_id, of=of)
        await self.delete_object(task_id, of=of)

    async def delete_object(self, _: str, *, of: int) -> None:
        assert of == METADATA.task_sequence
        self.deleted_objects += 1


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


def found(
    language: str,
    processed_seconds: float,
    segments: tuple[Segment, ...],
    sha256: str,
    channel: int | None = None,
    untranscribed: tuple[Stretch, ...] = (),
) -> Update:
    text = Found(language, processed_seconds, segments, sha256, channel, untranscribed)
    return Update(Stage.TRANSCRIBING, 0.0, found=text)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("app.execution.attempt.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
async def log() -> InMemoryTaskLog:
    queued = ProgressEvent(
        task_id="t1",
        kind=Kind.TRANSCRIPTION,
        state=State.QUEUED,
        max_attempts=4,
        sequence=1,
        time=datetime.now(UTC),
    )
    log = InMemoryTaskLog()
    await log.push(queued, METADATA)
    return log


@pytest.fixture
def results(log: InMemoryTaskLog) -> FakeResults:
    return FakeResults(log)


async def attempt_on(log: InMemoryTaskLog, results: FakeResults | None = None) -> TaskAttempt:
    record = await log.last("t1")
    assert record is not None
    return TaskAttempt(log, cast("ResultStore", results), record, StageSpans(OFF.get_tracer("tests")))


@pytest.fixture
async def attempt(log: InMemoryTaskLog, results: FakeResults, clock: list[float]) -> TaskAttempt:
    started = await attempt_on(log, results)
    await started.start()
    return started


async def test_it_speaks_at_most_once_a_second(attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]) -> None:
    for tenth in range(1, 31):
        clock[0] += 0.1
        await attempt.append(Update(Stage.TRANSCRIBING, tenth / 30, tenth, 30))
    assert len([event for event in log.events("t1") if event.state is State.RUNNING]) in {3, 4}


async def test_what_came_too_soon_is_said_later(attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]) -> None:
    clock[0] += 0.5
    await attempt.append(Update(Stage.DECODING, 0.0, 0, 30))
    said = log.events("t1")[-1]
    assert said.stage is Stage.FETCHING
    clock[0] += 0.6
    await attempt.tick()
    assert log.events("t1")[-1].stage is Stage.DECODING


async def test_it_is_heard_from_though_nothing_is_new(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    said = len(log.events("t1"))
    for _ in range(30):
        clock[0] += 1
        await attempt.tick()
    assert len(log.events("t1")) - said == 3


async def test_progress_never_falls_and_never_says_done_too_soon(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    for fraction in (0.5, 0.3, 1.0):
        clock[0] += 1
        await attempt.append(Update(Stage.TRANSCRIBING, fraction, 15, 30))
    assert [event.progress for event in log.events("t1")[2:]] == [50, 50, 99]


async def test_the_rest_is_estimated_from_the_pace(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    clock[0] += 5
    await attempt.append(Update(Stage.TRANSCRIBING, 0.0, 0, 100))
    clock[0] += 10
    await attempt.append(Update(Stage.TRANSCRIBING, 0.25, 25, 100))
    assert log.events("t1")[-1].eta_seconds == 30


async def test_the_rest_does_not_grow_while_the_work_is_waited_for(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    # Given an attempt that has done a quarter in ten seconds
    clock[0] += 5
    await attempt.append(Update(Stage.TRANSCRIBING, 0.0, 0, 100))
    clock[0] += 10
    await attempt.append(Update(Stage.TRANSCRIBING, 0.25, 25, 100))
    # When it says nothing new for a while, then for very long
    rests = []
    for silence in (8, 8, 100):
        clock[0] += silence
        await attempt.tick()
        rests.append(log.events("t1")[-1].eta_seconds)
    # Then the rest is the less by that, and never below nothing
    assert rests == [22, 14, 0]


async def test_who_comes_after_goes_on_where_the_segments_end(log: InMemoryTaskLog, clock: list[float]) -> None:
    # Given an attempt that found two windows and was lost
    lost = await attempt_on(log)
    await lost.start()
    for number in (0, 1):
        await lost.append(found("en", (number + 1) * 10.0, (segment(number),), "sha"))
    # When another one starts
    following = await attempt_on(log)
    await following.start()
    # Then it knows what is done, and in which recording, and appends behind it
    assert following.checkpoint.processed_seconds == 20
    assert following.checkpoint.audio_sha256 == "sha"
    assert following.checkpoint.segments == (segment(0), segment(1))
    await following.append(found("en", 30.0, (segment(2),), "sha"))
    assert [event.sequence for event in log.batches("t1")] == [1, 2, 3]
    # And the lost one cannot speak any more
    with pytest.raises(FencedError):
        await lost.release()


async def test_channels_and_stretches_without_text_outlive_a_lost_worker(
    log: InMemoryTaskLog, clock: list[float]
) -> None:
    # Given an attempt that was lost in the second channel, and found no text in a part of each
    lost = await attempt_on(log)
    await lost.start()
    on = [segment(number).model_copy(update={"channel": number, "speaker": f"SPEAKER_0{number}"}) for number in (0, 1)]
    missing = [Stretch(start=8, end=9.5), Stretch(start=3, end=4.5)]
    for channel, language in enumerate(["en", "ru"]):
        await lost.append(found(language, 10.0, (on[channel],), "sha", channel, (missing[channel],)))
    # When another one starts
    following = await attempt_on(log)
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
    assert [(event.channel, event.untranscribed) for event in log.batches("t1")] == [(0, missing[:1]), (1, missing[1:])]


async def test_how_long_the_recording_is_stays_known(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    # Given an attempt that knows how long its recording is
    await attempt.append(Update(Stage.DIARIZING, 0.5, 5, 60))
    # When a stage is told that goes over no audio
    clock[0] += 10
    await attempt.append(Update(Stage.MERGING, 1.0))
    # Then that is still known, to clients and to the metrics
    assert (log.events("t1")[-1].stage, log.events("t1")[-1].duration_seconds) == (Stage.MERGING, 60)
    assert attempt.audio_seconds == 60


async def test_it_notices_that_somebody_else_has_spoken(attempt: TaskAttempt, log: InMemoryTaskLog) -> None:
    await attempt.check(log.events("t1")[-1].sequence)  # our own
    await somebody_says(log, State.CANCELLED)
    with pytest.raises(FencedError):
        await attempt.check(3)


async def test_what_the_stream_has_refused_overtakes_nobody(attempt: TaskAttempt) -> None:
    await attempt.check(99)  # heard on the subject, but not in the log


async def test_what_goes_on_in_the_same_attempt_does_not_fall_back(log: InMemoryTaskLog, clock: list[float]) -> None:
    # Given an attempt that was given back at 57 percent
    first = await attempt_on(log)
    await first.start()
    clock[0] += 1
    await first.append(Update(Stage.TRANSCRIBING, 0.57, 57, 100))
    await first.release()
    # When another worker goes on
    following = await attempt_on(log)
    await following.start()
    clock[0] += 1
    await following.append(Update(Stage.DECODING, 0.5, 50, 100))
    # Then clients see no step back
    assert following.number == 1
    assert [event.progress for event in log.events("t1")[-4:]] == [57, 57, 57, 57]


async def test_a_new_attempt_says_how_far_it_is_itself(log: InMemoryTaskLog, clock: list[float]) -> None:
    # Given an attempt that was lost at 57 percent
    lost = await attempt_on(log)
    await lost.start()
    clock[0] += 1
    await lost.append(Update(Stage.TRANSCRIBING, 0.57, 57, 100))
    # When the next one is at ten
    following = await attempt_on(log)
    await following.start()
    clock[0] += 1
    await following.append(Update(Stage.DECODING, 0.1, 10, 100))
    # Then it says so
    assert following.number == 2
    assert [event.progress for event in log.events("t1")[-3:]] == [57, 0, 10]


async def test_the_estimate_of_a_resumed_attempt_counts_only_what_it_has_done(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    # Given an attempt that begins in the middle
    clock[0] += 5
    await attempt.append(Update(Stage.DECODING, 0.5, 50, 100))
    # When it has done a quarter in ten seconds
    clock[0] += 10
    await attempt.append(Update(Stage.TRANSCRIBING, 0.75, 75, 100))
    # Then the last quarter takes ten more
    assert log.events("t1")[-1].eta_seconds == 10


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
    log: InMemoryTaskLog, state: State, attempt_number: int, stage: Stage, kind: Kind, given_up: bool
) -> None:
    changes = {"state": state, "attempt": attempt_number, "stage": stage, "kind": kind}
    assert speakers_are_given_up(log.events("t1")[0].model_copy(update=changes)) is given_up


async def somebody_says(log: InMemoryTaskLog, state: State) -> None:
    last = log.events("t1")[-1]
    await log.push(last.model_copy(update={"state": state, "sequence": last.sequence + 1, "worker": "other"}), METADATA)


@pytest.mark.parametrize("update", [found("en", 10.0, (segment(0),), "sha"), RESULT])
async def test_who_was_overtaken_publishes_nothing(
    attempt: TaskAttempt, log: InMemoryTaskLog, results: FakeResults, update: Update | Result
) -> None:
    # Given an attempt that another worker has taken over, and which has not heard of it
    await somebody_says(log, State.RUNNING)
    # When it comes with segments or a result
    with pytest.raises(FencedError):
        await attempt.append(update)
    # Then they go nowhere
    assert (log.batches("t1"), log.outcomes("t1")) == ([], [])


ENGINE_FAILED = ErrorDetail(code=ErrorCode.ENGINE_FAILED, message="The engine died.")


@pytest.mark.parametrize(("error", "state"), [(None, State.CANCELLED), (ENGINE_FAILED, State.FAILED)])
async def test_no_result_is_stored_of_a_task_that_is_ended_while_it_is_on_its_way(
    attempt: TaskAttempt,
    log: InMemoryTaskLog,
    results: FakeResults,
    monkeypatch: pytest.MonkeyPatch,
    error: ErrorDetail | None,
    state: State,
) -> None:
    # Given an attempt whose task is cancelled, or given up, when it has made sure that the task is its own
    publish = results.publish

    async def too_late(result: Result, metadata: Metadata) -> None:
        last = await log.last("t1")
        assert last is not None
        await log.of("other").end(last, error)
        await publish(result, metadata)

    monkeypatch.setattr(results, "publish", too_late)
    # When its result comes, then that is refused
    with pytest.raises(FencedError):
        await attempt.append(RESULT)
    assert log.outcomes("t1") == [NoResult(task_id="t1", error=error)]
    assert log.events("t1")[-1].state is state
    # And what it has put aside for a large one goes
    assert not await attempt.clean_up(await log.last("t1"))
    assert results.deleted_objects == 1


async def test_who_ends_a_task_whose_result_is_stored_completes_it(
    attempt: TaskAttempt, log: InMemoryTaskLog, results: FakeResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an attempt whose task is cancelled when its result is stored
    publish = results.publish

    async def just_in_time(result: Result, metadata: Metadata) -> None:
        await publish(result, metadata)
        last = await log.last("t1")
        assert last is not None
        await log.of("other").end(last)

    monkeypatch.setattr(results, "publish", just_in_time)
    # When it is to say so, then that is said already
    with pytest.raises(FencedError):
        await attempt.append(RESULT)
    assert (log.events("t1")[-1].state, log.events("t1")[-1].progress) == (State.COMPLETED, 100)
    # And the result stays
    assert not await attempt.clean_up(await log.last("t1"))
    assert log.outcomes("t1") == [RESULT]
    assert results.deleted_objects == 0


@pytest.mark.parametrize(("error", "state"), [(None, State.CANCELLED), (ENGINE_FAILED, State.FAILED)])
async def test_what_was_decided_before_its_author_was_lost_is_said_by_whoever_comes_next(
    attempt: TaskAttempt, log: InMemoryTaskLog, error: ErrorDetail | None, state: State
) -> None:
    # Given a task whose result was forbidden by somebody who was lost before its log said so
    await log.forbid_result("t1", METADATA, error)
    # When its attempt comes with a result, then that is refused
    with pytest.raises(FencedError):
        await attempt.append(RESULT)
    # And whoever has the task next ends it as it was decided
    following = await attempt_on(log)
    assert await following.end_as_decided()
    assert (log.events("t1")[-1].state, log.events("t1")[-1].error) == (state, error)


async def test_a_failure_that_comes_after_the_result_is_none(
    attempt: TaskAttempt, log: InMemoryTaskLog, results: FakeResults
) -> None:
    # Given an attempt whose result was stored
    await results.publish(RESULT, METADATA)
    # When it fails all the same, then the task has completed
    await attempt.fail(ENGINE_FAILED)
    assert attempt.completed
    assert (log.events("t1")[-1].state, log.events("t1")[-1].error) == (State.COMPLETED, None)


async def test_who_was_overtaken_forbids_nothing(attempt: TaskAttempt, log: InMemoryTaskLog) -> None:
    # Given an attempt that another worker has taken over
    await somebody_says(log, State.RUNNING)
    # When it fails, then the other one may still give a result
    with pytest.raises(FencedError):
        await attempt.fail(ENGINE_FAILED)
    assert log.outcomes("t1") == []


@pytest.mark.parametrize("ending", ["result", "failure"])
async def test_nothing_is_left_where_the_task_was_deleted(
    attempt: TaskAttempt, log: InMemoryTaskLog, results: FakeResults, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    # Given an attempt that ended when its task was deleted
    append = log.outcomes_stream.append

    async def meanwhile(*arguments: Any, **options: Any) -> int:
        await log.purge_events("t1")
        return await append(*arguments, **options)

    monkeypatch.setattr(log.outcomes_stream, "append", meanwhile)
    with pytest.raises(FencedError):
        await (attempt.append(RESULT) if ending == "result" else attempt.fail(ENGINE_FAILED))
    # When it gives up, then nothing is left of the task, and what was shown of a result is to go, too
    assert await attempt.clean_up(await log.last("t1")) == (ending == "result")
    assert log.outcomes("t1") == []


async def test_a_stop_while_an_acknowledgement_is_awaited_is_no_lost_worker(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    # Given an attempt whose word is stored, but not acknowledged yet
    log.progress_stream.stored.clear()
    log.progress_stream.acknowledges.clear()
    clock[0] += 1
    saying = asyncio.create_task(attempt.append(Update(Stage.DECODING, 0.0, 0, 30)))
    await log.progress_stream.stored.wait()
    # When it is cancelled, and the acknowledgement comes after that
    saying.cancel()
    log.progress_stream.acknowledges.set()
    with pytest.raises(asyncio.CancelledError):
        await saying
    # Then it knows what it has said, and can give its task back
    await attempt.release()
    assert [event.state for event in log.events("t1")] == [State.QUEUED, State.RUNNING, State.RUNNING, State.QUEUED]
    assert (await attempt_on(log)).number == 1


@pytest.mark.parametrize("lost", [True, False])
async def test_who_comes_after_knows_whether_the_one_before_was_in_trouble(
    log: InMemoryTaskLog, clock: list[float], lost: bool
) -> None:
    # Given an attempt whose worker was lost, or told to stop
    before = await attempt_on(log)
    await before.start()
    if not lost:
        await before.release()
    # When another one starts
    following = await attempt_on(log)
    await following.start()
    # Then it knows, and counts only the lost one as an attempt
    assert following.checkpoint.after_trouble == lost
    assert following.number == (2 if lost else 1)
