"""An attempt appends often enough, not too often, and its progress never falls."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import Stage, State
from natscribe.schemas.transcription import Interval, Segment
from natscribe.schemas.wire import Kind

from app.engines.windows import WindowText
from app.runtime.errors import FencedError
from app.runtime.telemetry.tracing import OFF, StageSpans
from app.speech.updates import Checkpoint, Embeddings, NewText, Progress, Result, SpeakerState
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.execution.checkpoint import SPEAKERS_LOST
from app.tasks.task_log.record import Metadata, NoResult, Record, TaskMessageId
from app.tasks.task_log.results import ResultStore
from tests.fakes.engine import segment
from tests.fakes.messages import event, transcript
from tests.fakes.task_log import InMemoryTaskLog

METADATA = Metadata(None, 1, "tasks.transcription.high", datetime.now(UTC))
ENGINE_FAILED = ErrorDetail(code=ErrorCode.ENGINE_FAILED, message="The engine died.")


class FakeResults:
    """Publishes results that fit into a message, and counts the objects that are deleted."""

    def __init__(self, log: InMemoryTaskLog) -> None:
        self._log = log
        self.deleted_objects = 0
        self.kept: list[bytes] = []
        self.embeddings = self

    async def publish(self, result: Result, last: Record) -> None:
        await self._log.append_result(result.model_dump_json().encode(), last)

    async def put(self, embeddings: bytes, last: Record, **_: bool) -> None:
        assert last.metadata.owner == METADATA.owner
        self.kept.append(embeddings)

    async def delete(self, task_id: str, *, of: TaskMessageId) -> None:
        await self._log.purge_outcome(task_id, of=of)
        await self.delete_object(task_id, of=of)

    async def delete_object(self, _: str, *, of: TaskMessageId) -> None:
        assert of == METADATA.owner
        self.deleted_objects += 1


RESULT = transcript(segments=[segment(0)])


def window_text(
    language: str,
    processed_seconds: float,
    segments: tuple[Segment, ...],
    sha256: str,
    channel: int | None = None,
    untranscribed: tuple[Interval, ...] = (),
) -> NewText:
    text = WindowText(
        segments=list(segments),
        untranscribed=list(untranscribed),
        language=language,
        end=processed_seconds,
        channel=channel,
    )
    return NewText(text, sha256)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
async def log() -> InMemoryTaskLog:
    log = InMemoryTaskLog()
    await log.push(event(), METADATA)
    return log


@pytest.fixture
def results(log: InMemoryTaskLog) -> FakeResults:
    return FakeResults(log)


async def attempt_on(log: InMemoryTaskLog, results: FakeResults | None = None) -> TaskAttempt:
    record = await log.last("t1")
    assert record is not None
    return TaskAttempt(log, cast("ResultStore", results), record, StageSpans(OFF.get_tracer("tests")))


async def started_on(log: InMemoryTaskLog, results: FakeResults | None = None) -> TaskAttempt:
    started = await attempt_on(log, results)
    await started.start()
    return started


@pytest.fixture
async def attempt(log: InMemoryTaskLog, results: FakeResults, clock: list[float]) -> TaskAttempt:
    return await started_on(log, results)


async def test_progress_is_appended_at_most_once_per_second(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    for tenth in range(1, 31):
        clock[0] += 0.1
        await attempt.append(Progress(Stage.TRANSCRIBING, tenth / 30, tenth, 30))
    assert len([event for event in log.events("t1") if event.state is State.RUNNING]) in {3, 4}


async def test_a_delayed_update_is_appended_by_the_next_tick(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    clock[0] += 0.5
    await attempt.append(Progress(Stage.DECODING, 0.0, 0, 30))
    event = log.events("t1")[-1]
    assert event.stage is Stage.FETCHING
    clock[0] += 0.5
    await attempt.tick()
    assert log.events("t1")[-1].stage is Stage.DECODING


async def test_the_last_update_is_appended_again_without_new_updates(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    before = len(log.events("t1"))
    for _ in range(30):
        clock[0] += 1
        await attempt.tick()
    assert len(log.events("t1")) - before == 3
    # And behind a release, nothing
    await attempt.release()
    clock[0] += 30
    await attempt.tick()
    assert log.events("t1")[-1].state is State.QUEUED


async def test_progress_never_falls_and_is_100_only_at_the_end(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    for fraction in (0.5, 0.3, 1.0):
        clock[0] += 1
        await attempt.append(Progress(Stage.TRANSCRIBING, fraction, 15, 30))
    assert [event.progress for event in log.events("t1")[2:]] == [50, 50, 99]


async def test_the_remaining_time_is_estimated_and_decreases_without_progress(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    # Given an attempt that has done a quarter in ten seconds
    clock[0] += 5
    await attempt.append(Progress(Stage.TRANSCRIBING, 0.0, 0, 100))
    clock[0] += 10
    await attempt.append(Progress(Stage.TRANSCRIBING, 0.25, 25, 100))
    rests = [log.events("t1")[-1].eta_seconds]
    # When there is no update for a while, then for very long
    for silence in (8, 8, 100):
        clock[0] += silence
        await attempt.tick()
        rests.append(log.events("t1")[-1].eta_seconds)
    # Then the remaining time falls by that, and never below zero
    assert rests == [30, 22, 14, 0]


async def test_the_next_attempt_continues_where_the_segments_end(log: InMemoryTaskLog, clock: list[float]) -> None:
    # Given an attempt that found two windows and was lost
    lost = await started_on(log)
    for number in (0, 1):
        await lost.append(window_text("en", (number + 1) * 10.0, (segment(number),), "sha"))
    # When another one starts
    following = await started_on(log)
    # Then it knows what is done, and in which recording, and appends behind it
    assert following.checkpoint.processed_seconds == 20
    assert following.checkpoint.audio_sha256 == "sha"
    assert following.checkpoint.segments == (segment(0), segment(1))
    await following.append(window_text("en", 30.0, (segment(2),), "sha"))
    assert [event.sequence for event in log.batches("t1")] == [1, 2, 3]
    # And the lost one can append nothing any more
    with pytest.raises(FencedError):
        await lost.release()


async def test_channels_and_untranscribed_parts_outlive_a_lost_worker(log: InMemoryTaskLog, clock: list[float]) -> None:
    # Given an attempt that was lost in the second channel, and found no text in a part of each
    lost = await started_on(log)
    on = [segment(number).model_copy(update={"channel": number, "speaker": f"SPEAKER_0{number}"}) for number in (0, 1)]
    missing = [Interval(start=8, end=9.5), Interval(start=3, end=4.5)]
    for channel, language in enumerate(["en", "ru"]):
        await lost.append(window_text(language, 10.0, (on[channel],), "sha", channel, (missing[channel],)))
    # When another one starts
    following = await started_on(log)
    # Then it continues in that channel and its language, and nothing of before is lost
    assert following.checkpoint == Checkpoint(
        language="ru",
        channel=1,
        processed_seconds=10,
        reached={0: 10, 1: 10},
        segments=tuple(on),
        untranscribed=tuple(missing),
        audio_sha256="sha",
        after_failure=True,
    )
    # And a subscriber of the segments gets each part once
    assert [(event.channel, event.untranscribed) for event in log.batches("t1")] == [(0, missing[:1]), (1, missing[1:])]


async def test_the_duration_of_the_recording_stays_known(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    # Given an attempt that knows how long its recording is
    await attempt.append(Progress(Stage.DIARIZING, 0.5, 5, 60))
    # When a stage comes that has no seconds of audio
    clock[0] += 10
    await attempt.append(Progress(Stage.MERGING, 1.0))
    # Then clients and metrics still know the length
    assert (log.events("t1")[-1].stage, log.events("t1")[-1].duration_seconds) == (Stage.MERGING, 60)
    assert attempt.audio_seconds == 60


async def test_an_append_of_another_writer_is_detected(attempt: TaskAttempt, log: InMemoryTaskLog) -> None:
    await somebody_appends(log, State.CANCELLED)
    await attempt.check(2)  # its own event, for which the log is not read
    with pytest.raises(FencedError):
        await attempt.check(3)


async def test_a_stale_read_does_not_fence(
    attempt: TaskAttempt, log: InMemoryTaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server that was just the leader, and has missed the attempt's last event
    before = attempt.record
    await attempt.append(Progress(Stage.DECODING, 0.1))
    await attempt.release()

    async def from_the_past(_: str) -> Record:
        return before

    monkeypatch.setattr(log, "last", from_the_past)
    # When the attempt checks whether it still owns the log, then it does
    await attempt.check()


async def test_a_refused_append_of_another_writer_does_not_fence(attempt: TaskAttempt) -> None:
    await attempt.check(99)  # received on the subject, but not in the log


@pytest.mark.parametrize(
    ("released", "number", "progress"),
    [(True, 1, [57, 57, 57, 57]), (False, 2, [0, 57, 0, 10])],
    ids=["another worker continues the attempt", "a new attempt counts its own progress"],
)
async def test_progress_falls_only_with_a_new_attempt(
    log: InMemoryTaskLog, clock: list[float], released: bool, number: int, progress: list[int]
) -> None:
    # Given an attempt that was released or lost at 57 percent
    first = await started_on(log)
    clock[0] += 1
    await first.append(Progress(Stage.TRANSCRIBING, 0.57, 57, 100))
    if released:
        await first.release()
    # When another worker is at ten
    following = await started_on(log)
    clock[0] += 1
    await following.append(Progress(Stage.DECODING, 0.1, 10, 100))
    # Then it knows whether the one before was lost, and clients see no step back within an attempt
    assert (following.number, following.checkpoint.after_failure) == (number, not released)
    assert [event.progress for event in log.events("t1")[-4:]] == progress


async def test_the_estimate_of_a_resumed_attempt_counts_only_what_it_has_done(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    # Given an attempt that begins in the middle
    clock[0] += 5
    await attempt.append(Progress(Stage.DECODING, 0.5, 50, 100))
    # When it has done a quarter in ten seconds
    clock[0] += 10
    await attempt.append(Progress(Stage.TRANSCRIBING, 0.75, 75, 100))
    # Then the last quarter takes ten more
    assert log.events("t1")[-1].eta_seconds == 10


@pytest.mark.parametrize(
    ("number", "stage", "kind", "ending", "given_up"),
    [
        (4, Stage.DIARIZING, Kind.TRANSCRIPTION, "lost", SPEAKERS_LOST),
        (4, Stage.DIARIZING, Kind.TRANSCRIPTION, "failed", ENGINE_FAILED),
        (4, Stage.DIARIZING, Kind.TRANSCRIPTION, "stopped", None),
        (3, Stage.DIARIZING, Kind.TRANSCRIPTION, "lost", None),
        (4, Stage.TRANSCRIBING, Kind.TRANSCRIPTION, "lost", None),
        (4, Stage.DIARIZING, Kind.DIARIZATION, "lost", None),
    ],
)
async def test_diarization_is_given_up_only_after_the_last_attempt(
    log: InMemoryTaskLog,
    clock: list[float],
    number: int,
    stage: Stage,
    kind: Kind,
    ending: str,
    given_up: ErrorDetail | None,
) -> None:
    # Given an attempt that has come to a stage
    changes = {"state": State.QUEUED, "attempt": number, "kind": kind, "sequence": 2}
    await log.push(log.events("t1")[0].model_copy(update=changes), METADATA)
    before = await started_on(log)
    clock[0] += 1
    await before.append(Progress(stage, 0.5))
    # Then it may be followed by one that does without speakers if they are all that is missing
    only_speakers_missing = kind is Kind.TRANSCRIPTION and stage is Stage.DIARIZING
    assert before.has_attempts_left is (number < before.record.event.max_attempts or only_speakers_missing)
    # When it ends, then the next one diarizes unless it was the last allowed
    if ending == "failed":
        await before.retry(ENGINE_FAILED, datetime.now(UTC))
    elif ending == "stopped":
        await before.release()
    following = await started_on(log)
    assert following.checkpoint.diarization_error == given_up


async def somebody_appends(log: InMemoryTaskLog, state: State) -> None:
    last = log.events("t1")[-1]
    await log.push(last.model_copy(update={"state": state, "sequence": last.sequence + 1, "worker": "other"}), METADATA)


EMBEDDED = Embeddings(b"{}")
STORED: dict[str, Callable[[TaskAttempt], Awaitable[None]]] = {
    "segments": lambda attempt: attempt.append(window_text("en", 10.0, (segment(0),), "sha")),
    "a result": lambda attempt: attempt.publish(RESULT),
    "the note that there is none": lambda attempt: attempt.fail(ENGINE_FAILED),
    "embeddings": lambda attempt: attempt.append(EMBEDDED),
    "the state of live speakers": lambda attempt: attempt.append(SpeakerState("a")),
}


@pytest.mark.parametrize("store", STORED.values(), ids=STORED)
async def test_a_fenced_attempt_stores_nothing(
    attempt: TaskAttempt,
    log: InMemoryTaskLog,
    results: FakeResults,
    store: Callable[[TaskAttempt], Awaitable[None]],
) -> None:
    # Given an attempt that another worker has taken over unnoticed
    await somebody_appends(log, State.RUNNING)
    # When it stores something, then it is fenced, and nothing is stored
    with pytest.raises(FencedError):
        await store(attempt)
    assert (log.batches("t1"), log.outcomes("t1"), results.kept) == ([], [], [])


@pytest.mark.parametrize(("error", "state"), [(None, State.CANCELLED), (ENGINE_FAILED, State.FAILED)])
async def test_a_result_is_refused_when_its_task_was_ended_meanwhile(
    attempt: TaskAttempt,
    log: InMemoryTaskLog,
    results: FakeResults,
    monkeypatch: pytest.MonkeyPatch,
    error: ErrorDetail | None,
    state: State,
) -> None:
    # Given an attempt whose task is cancelled, or fails, right after the attempt has checked its log
    publish = results.publish

    async def too_late(result: Result, last: Record) -> None:
        await log.of("other").end(last, error)
        await publish(result, last)

    monkeypatch.setattr(results, "publish", too_late)
    # When it publishes its result, then that is refused
    with pytest.raises(FencedError):
        await attempt.publish(RESULT)
    assert log.outcomes("t1") == [NoResult(task_id="t1", after=attempt.record.stream_sequence, error=error)]
    assert log.events("t1")[-1].state is state
    # And the object of a large result is deleted
    await attempt.clean_up(await log.last("t1"))
    assert results.deleted_objects == 1


@pytest.mark.parametrize("ending", ["failure", "cancel"])
async def test_embeddings_go_when_their_task_has_no_result(
    attempt: TaskAttempt, log: InMemoryTaskLog, results: FakeResults, ending: str
) -> None:
    # Given an attempt that has stored embeddings
    await attempt.append(EMBEDDED)
    assert results.kept == [b"{}"]
    # When its task ends without a result, then they are removed
    if ending == "failure":
        await attempt.fail(ENGINE_FAILED)
    else:
        await log.of("other").end(attempt.record)
        await attempt.clean_up(await log.last("t1"))
    assert results.deleted_objects == 1


async def test_a_cancel_of_a_task_whose_result_is_stored_completes_it(
    attempt: TaskAttempt, log: InMemoryTaskLog, results: FakeResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an attempt whose task is cancelled right after its result was stored
    publish = results.publish

    async def just_in_time(result: Result, last: Record) -> None:
        await publish(result, last)
        await log.of("other").end(last)

    monkeypatch.setattr(results, "publish", just_in_time)
    # When it appends `completed`, then that is there already
    with pytest.raises(FencedError):
        await attempt.publish(RESULT)
    assert (log.events("t1")[-1].state, log.events("t1")[-1].progress) == (State.COMPLETED, 100)
    # And the result stays
    await attempt.clean_up(await log.last("t1"))
    assert log.outcomes("t1") == [RESULT]
    assert results.deleted_objects == 0


@pytest.mark.parametrize(("error", "state"), [(None, State.CANCELLED), (ENGINE_FAILED, State.FAILED)])
async def test_the_next_attempt_ends_a_task_whose_outcome_is_stored(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float], error: ErrorDetail | None, state: State
) -> None:
    # Given a task whose result was forbidden by a worker that was lost before the log was ended
    clock[0] += 1
    await attempt.append(Progress(Stage.DECODING, 0.0, 0, 60))
    await log.forbid_result(attempt.record, error)
    # When its attempt publishes a result, then that is refused
    with pytest.raises(FencedError):
        await attempt.publish(RESULT)
    # And the next attempt ends the log by the outcome
    following = await attempt_on(log)
    assert await following.end_with_stored_outcome()
    last = log.events("t1")[-1]
    assert (last.state, last.error, last.duration_seconds) == (state, error, 60)


async def test_a_failure_after_the_result_is_no_failure(
    attempt: TaskAttempt, log: InMemoryTaskLog, results: FakeResults
) -> None:
    # Given an attempt whose result was stored
    await results.publish(RESULT, attempt.record)
    # When it fails after that, then the task has completed
    await attempt.fail(ENGINE_FAILED)
    last = log.events("t1")[-1]
    assert (last.state, last.error, last.progress) == (State.COMPLETED, None, 100)


async def test_a_failure_that_comes_after_the_next_worker_decides_nothing(
    attempt: TaskAttempt, log: InMemoryTaskLog, results: FakeResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an attempt that is about to fail, and has checked that it owns the log
    append, following = log.outcomes_stream.append, await attempt_on(log, results)

    async def meanwhile(*arguments: Any, **options: Any) -> int:
        monkeypatch.undo()
        await following.start()
        return await append(*arguments, **options)

    monkeypatch.setattr(log.outcomes_stream, "append", meanwhile)
    # When another worker takes the task over just then
    with pytest.raises(FencedError):
        await attempt.fail(ENGINE_FAILED)
    # Then that worker ends nothing, and its result is stored
    assert not await following.end_with_stored_outcome()
    await following.publish(RESULT)
    assert log.outcomes("t1") == [RESULT]
    assert log.events("t1")[-1].state is State.COMPLETED


async def test_a_cancel_that_was_refused_is_repeated_behind_the_workers_append(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    # Given a cancel that has forbidden the result, and whose append comes after one of the worker
    before = attempt.record
    await log.of("other").forbid_result(before, None)
    clock[0] += 1
    await attempt.append(Progress(Stage.TRANSCRIBING, 0.5, 15, 30))
    with pytest.raises(FencedError):
        await log.of("other").end(before)
    # When the cancellation checks again
    await log.of("other").end(attempt.record)
    # Then the worker's result is refused, and the task is cancelled
    with pytest.raises(FencedError):
        await attempt.publish(RESULT)
    assert log.outcomes("t1") == [NoResult(task_id="t1", after=attempt.record.stream_sequence, error=None)]
    assert log.events("t1")[-1].state is State.CANCELLED


async def test_a_cancel_that_was_refused_and_repeated_too_late_completes_the_task(
    attempt: TaskAttempt, log: InMemoryTaskLog, results: FakeResults, clock: list[float]
) -> None:
    # Given a cancel that has forbidden the result, and was refused its append since the worker has appended
    await log.of("other").forbid_result(attempt.record, None)
    clock[0] += 1
    await attempt.append(Progress(Stage.TRANSCRIBING, 0.5, 15, 30))
    # When the worker stores its result before the cancellation checks again
    await results.publish(RESULT, attempt.record)
    ended = await log.of("other").end(attempt.record)
    # Then the task has completed
    assert ended.event.state is State.COMPLETED
    assert log.outcomes("t1") == [RESULT]


@pytest.mark.parametrize("ending", ["result", "failure"])
async def test_nothing_is_left_of_a_deleted_task(
    attempt: TaskAttempt, log: InMemoryTaskLog, results: FakeResults, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    # Given an attempt that ended when its task was deleted
    append = log.outcomes_stream.append

    async def meanwhile(*arguments: Any, **options: Any) -> int:
        await log.purge_events("t1")
        return await append(*arguments, **options)

    monkeypatch.setattr(log.outcomes_stream, "append", meanwhile)
    with pytest.raises(FencedError):
        await (attempt.publish(RESULT) if ending == "result" else attempt.fail(ENGINE_FAILED))
    # When it cleans up, then nothing is left of the task
    await attempt.clean_up(await log.last("t1"))
    assert log.outcomes("t1") == []


async def test_nothing_is_left_of_a_deleted_task_whose_id_is_used_again(
    attempt: TaskAttempt, log: InMemoryTaskLog, results: FakeResults
) -> None:
    # Given an attempt that has found segments and a result
    await attempt.append(window_text("en", 10.0, (segment(0),), "sha"))
    await results.publish(RESULT, attempt.record)
    # When its task was deleted, and the log is that of a later task with the same id
    later = replace(METADATA, task_sequence=METADATA.task_sequence + 1)
    await attempt.clean_up(await log.push(log.events("t1")[0], later))
    # Then nothing is left of the deleted one
    assert (log.batches("t1"), log.outcomes("t1")) == ([], [])
    assert results.deleted_objects == 1


async def test_a_worker_that_stops_waits_for_its_last_acknowledgement(
    attempt: TaskAttempt, log: InMemoryTaskLog, clock: list[float]
) -> None:
    # Given an attempt whose append is stored, but not acknowledged yet
    log.progress_stream.stored.clear()
    log.progress_stream.acknowledges.clear()
    clock[0] += 1
    appending = asyncio.create_task(attempt.append(Progress(Stage.DECODING, 0.0, 0, 30)))
    await log.progress_stream.stored.wait()
    # When it is cancelled, and the acknowledgement comes after that
    appending.cancel()
    log.progress_stream.acknowledges.set()
    with pytest.raises(asyncio.CancelledError):
        await appending
    # Then it knows its last append, and can release its task
    await attempt.release()
    assert [event.state for event in log.events("t1")] == [State.QUEUED, State.RUNNING, State.RUNNING, State.QUEUED]
    assert (await attempt_on(log)).number == 1


async def test_waiting_for_audio_counts_as_progress(attempt: TaskAttempt, clock: list[float]) -> None:
    # Given a live task whose client is silent, when it says again that it waits
    for _ in range(2):
        clock[0] += 100
        await attempt.append(Progress(Stage.TRANSCRIBING, 0.0, processed_seconds=1.0, waits_for_audio=True))
    # Then that counts as progress
    assert attempt.seconds_since_progress == 0


async def test_a_repeated_update_is_no_progress(attempt: TaskAttempt, clock: list[float]) -> None:
    # Given an attempt that goes back to an earlier fraction, as when a window is transcribed again
    await attempt.append(Progress(Stage.TRANSCRIBING, 0.5, 15, 30))
    await attempt.append(Progress(Stage.TRANSCRIBING, 0.4, 12))
    # When it says nothing new for a minute
    for _ in range(60):
        clock[0] += 1
        await attempt.append(Progress(Stage.TRANSCRIBING, 0.4, 12))
    # Then it has made no progress since
    assert attempt.seconds_since_progress == pytest.approx(60)
    # And with the next second of audio, the stage or text it has
    for new in (
        Progress(Stage.TRANSCRIBING, 0.4, 13),
        Progress(Stage.MERGING, 0.4, 13),
        window_text("en", 13, (), "0"),
    ):
        clock[0] += 1
        await attempt.append(new)
        assert attempt.seconds_since_progress == 0
