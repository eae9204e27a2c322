"""What is erased of ended tasks, and when: by their reminders, and at the request of users."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.requests import UserRequest
from natscribe.schemas.wire import Priority

from app.runtime.cancellation import cancel_all
from app.runtime.errors import RequestError, TransientError
from app.storage.jetstream.records import UnreadableError
from app.tasks.queue.index import QueueIndex
from app.tasks.retention import reminders as reminders_module
from app.tasks.retention.erasure import Erasure
from app.tasks.retention.reminders import Reminder
from app.tasks.retention.schedule import Schedule, audio_file_id, recordings_in_use
from app.tasks.task_log.record import Record
from tests.constants import Constants
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, UNREADABLE, Parts
from tests.waiting import eventually

DAY = 24 * 3600.0
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def deleted(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The recordings that were deleted."""
    names: list[str] = []

    async def delete(audio_file_id: str) -> None:
        names.append(audio_file_id)

    monkeypatch.setattr(parts.recordings, "delete", delete)
    return names


def schedule(parts: Parts, audio_ttl: float | None) -> Schedule:
    return Schedule(
        parts.server.client,
        NAMES,
        parts.log,
        messages=parts.messages,
        reminders=parts.reminders,
        erasure=parts.erasure,
        audio_ttl=audio_ttl,
        meter=parts.meter,
    )


async def run(parts: Parts, audio_ttl: float | None = DAY) -> None:
    """Set all reminders, and erase what is due."""
    running = asyncio.create_task(schedule(parts, audio_ttl).run())

    async def done() -> bool:
        ended = parts.server.streams[NAMES.results].consumers[NAMES.ended_tasks]
        due = parts.server.streams[NAMES.retention].consumers[NAMES.due_reminders]
        waits = parts.server.streams[NAMES.retention].of("retention.due.>")
        return (
            ended.settled >= parts.server.streams[NAMES.results].last_sequence
            and len(due.pending) == len(due.put_off_s)
            and len(waits) == len(due.put_off_s)
        )

    try:
        await eventually(done)
    finally:
        await cancel_all([running])


async def erase_due(parts: Parts, audio_ttl: float | None = DAY) -> None:
    """Let all reminders become due, and erase what they name."""
    parts.server.come_due(NAMES.retention)
    await run(parts, audio_ttl)


def stored(parts: Parts) -> list[tuple[str, Reminder]]:
    """The reminders, each with its subject."""
    messages = parts.server.streams[NAMES.retention].messages
    return [
        (message.subject, Reminder.model_validate_json(message.body))
        for message in messages
        if message.body.startswith(b'{"task_')
    ]


async def ended(parts: Parts, task_id: str = "t1", *, state: State = State.CANCELLED, **options: object) -> Record:
    """A task that has ended, and whose message is settled."""
    last = await parts.reaching(state, task_id, **options)
    await parts.messages.remove(last)
    return last


async def is_known(parts: Parts, task_id: str = "t1") -> bool:
    return await parts.log.last(task_id) is not None


async def test_each_ended_task_gets_one_reminder(parts: Parts, nats: InMemoryNats, deleted: list[str]) -> None:
    # Given two ended tasks, one that runs, and an outcome that the service did not write
    for task_id in ("a", "b"):
        await ended(parts, task_id)
    await parts.reaching(State.RUNNING, "c")
    nats.streams[NAMES.results].publish("append.results.c", b"{}", {}, nats.now)
    # When reminders are set
    await run(parts)
    # Then each ended task has its own, and nothing is erased yet
    assert sorted(reminder.task_id for _, reminder in stored(parts)) == ["a", "b"]
    assert deleted == []


async def test_an_outcome_of_another_task_sets_no_reminder(parts: Parts, nats: InMemoryNats) -> None:
    # Given an outcome whose headers name another task than its subject
    await ended(parts)
    (outcome,) = nats.streams[NAMES.results].messages
    nats.streams[NAMES.results].publish("append.no_results.t2", outcome.body, _own(outcome.headers), nats.now)
    await run(parts)
    assert [reminder.task_id for _, reminder in stored(parts)] == ["t1"]


def _own(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not name.startswith("Nats-")}


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "published again"])
async def test_a_task_deleted_in_the_meantime_has_no_reminder(parts: Parts, nats: InMemoryNats, again: bool) -> None:
    # Given an ended task whose log is gone, and perhaps a later task with its id
    await ended(parts)
    await parts.log.purge_events("t1")
    if again:
        nats.ahead += timedelta(minutes=1)
        await parts.reaching(State.RUNNING, "t1")
    await run(parts)
    assert stored(parts) == []


@pytest.mark.parametrize(
    ("ttl", "keep", "goes", "left"),
    [
        (DAY, None, "recording", 1),  # the dead letter may stay for longer
        (90 * DAY, None, "recording", 0),
        (None, None, "", 0),
        (DAY, 60, "recording and task", 0),
        (DAY, int(2 * DAY), "recording", 1),
        (0, 60, "recording and task", 0),
        (None, 60, "task", 0),
    ],
)
async def test_due_data_is_erased(
    parts: Parts,
    nats: InMemoryNats,
    deleted: list[str],
    ttl: float | None,
    keep: int | None,
    goes: str,
    left: int,
) -> None:
    # Given an ended task
    await ended(parts, keep_seconds=keep)
    await run(parts, ttl)
    # When its reminder is due for the first time
    await erase_due(parts, ttl)
    # Then what has to go is gone, and the reminder stays for the rest
    assert deleted == ["a.flac"] * ("recording" in goes)
    assert await is_known(parts) is ("task" not in goes)
    assert [reminder.recording_until for _, reminder in stored(parts)] == [None] * left


async def test_the_other_data_of_a_task_is_erased_when_due(
    parts: Parts, nats: InMemoryNats, deleted: list[str]
) -> None:
    await ended(parts, keep_seconds=int(2 * DAY))
    for _ in range(2):
        await run(parts)
        await erase_due(parts)
    assert (deleted, await is_known(parts), stored(parts)) == (["a.flac"], False, [])


@pytest.mark.parametrize("audio_ttl", [DAY, 0])
async def test_a_recording_of_another_task_stays(
    parts: Parts, nats: InMemoryNats, deleted: list[str], audio_ttl: float
) -> None:
    # Given an ended task, and another one that waits for the same recording
    await ended(parts, keep_seconds=60)
    await run(parts, audio_ttl)
    await parts.publish("t2", priority=Priority.LOW)
    # When the first is due, then its recording stays
    await erase_due(parts, audio_ttl)
    assert (deleted, await is_known(parts)) == ([], False)


async def test_a_permanent_recording_outlives_one_of_its_tasks(
    parts: Parts, nats: InMemoryNats, deleted: list[str]
) -> None:
    # Given a service that stores recordings, and an ended task that is to leave nothing
    await ended(parts, "goes", keep_seconds=60)
    await run(parts, 0)
    # When it is due, and another one with its recording has ended, then the recording stays for that
    nats.come_due(NAMES.retention)
    await ended(parts, "stays")
    await run(parts, 0)
    assert (deleted, await is_known(parts, "goes"), await is_known(parts, "stays")) == ([], False, True)


async def test_the_recording_of_a_task_that_has_just_ended_stays(
    parts: Parts, nats: InMemoryNats, deleted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a recording that is due, and another task of it that has ended, and has no reminder yet
    await ended(parts)
    await run(parts)
    nats.come_due(NAMES.retention)
    await ended(parts, "t2")
    put, is_waited_for = parts.reminders.put, asyncio.Event()

    async def late(put_reminder: Reminder) -> None:
        if put_reminder.task_id == "t2":
            await is_waited_for.wait()
        await put(put_reminder)

    monkeypatch.setattr(parts.reminders, "put", late)
    nats.before(f"$JS.API.STREAM.INFO.{NAMES.results}", is_waited_for.set)
    # When what is due is erased, then the recording stays
    await run(parts)
    assert deleted == []


@pytest.mark.parametrize("state", [State.RUNNING, State.QUEUED])
async def test_a_running_task_is_not_erased(parts: Parts, nats: InMemoryNats, deleted: list[str], state: State) -> None:
    # Given a task that continues, though a cancellation that was given up has set its reminder
    record = await parts.reaching(state, "t1", keep_seconds=60)
    await parts.log.forbid_result(record, None)
    await run(parts)
    # When it is due
    due_at = nats.now
    await erase_due(parts)
    # Then it is put off by an hour, and nothing is erased
    ((subject, reminder),) = stored(parts)
    assert subject.startswith("retention.reminders.")
    assert timedelta(minutes=59) < reminder.due_at - due_at < timedelta(minutes=61)
    assert (deleted, await is_known(parts)) == ([], True)
    # And once it has ended, its own time counts
    await parts.log.end(await parts.advance(record, State.RUNNING, attempt=1))
    await run(parts)
    ((_, reminder),) = stored(parts)
    assert reminder.due_at - nats.now < timedelta(minutes=1)


async def test_a_later_task_with_the_same_id_is_not_erased(
    parts: Parts, nats: InMemoryNats, deleted: list[str]
) -> None:
    # Given a reminder of a task whose id another one has now
    await ended(parts, keep_seconds=60)
    await run(parts)
    await parts.log.purge_events("t1")
    await parts.log.purge_outcome("t1")
    nats.ahead += timedelta(minutes=1)
    await parts.reaching(State.RUNNING, "t1", audio_file_id="b.flac")
    # When it is due, then only the old recording goes
    await erase_due(parts)
    assert (deleted, await is_known(parts)) == (["a.flac"], True)


async def test_a_failed_erasure_delays_no_other(
    parts: Parts, nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two tasks, of which one cannot be erased, and a reminder of a later version
    for task_id in ("a", "b"):
        await ended(parts, task_id, audio_file_id=f"{task_id}.flac", keep_seconds=60)
    await run(parts)

    async def delete(audio_file_id: str) -> None:
        if audio_file_id == "a.flac":
            raise TransientError(ErrorCode.INTERNAL, "away")

    monkeypatch.setattr(parts.recordings, "delete", delete)
    nats.come_due(NAMES.retention)
    nats.streams[NAMES.retention].publish("retention.due.u.r.t9", b"later", {}, nats.now)
    # When they are due
    await run(parts)
    # Then the other one is erased, and both are tried again after a while
    assert (await is_known(parts, "a"), await is_known(parts, "b")) == (True, False)
    assert nats.streams[NAMES.retention].consumers[NAMES.due_reminders].put_off_s == [30.0, 30.0]


def reminder(task_id: str = "t1", **fields: object) -> Reminder:
    default = Reminder(
        task_id=task_id,
        user_id=7,
        audio_file_id="a.flac",
        task_sequence=1,
        created_at=LONG_AGO,
        task_until=LONG_AGO,
        everything=False,
        recording_until=LONG_AGO,
    )
    return default.model_copy(update=fields)


@pytest.mark.parametrize(
    ("other", "kept_for_ever", "needed"),
    [
        ({}, False, True),
        ({"recording_until": None}, False, False),
        ({"recording_until": None}, True, True),
        ({"recording_until": None, "everything": True}, True, False),
        ({"audio_file_id": "b.flac"}, False, False),
        ({"task_sequence": 1}, False, False),  # a second copy of the same task's reminder
    ],
)
async def test_reminders_show_which_recordings_are_needed(
    parts: Parts, other: dict[str, object], kept_for_ever: bool, needed: bool
) -> None:
    # Given the reminder of another ended task
    await parts.reminders.put(reminder("t2", **{"task_sequence": 2} | other))
    # When a task with the same recording is due, then it stays if the other one still needs it
    assert await parts.reminders.is_recording_needed(reminder(), kept_for_ever=kept_for_ever) is needed


async def test_recordings_of_other_tasks_in_the_queues_are_in_use(parts: Parts, nats: InMemoryNats) -> None:
    # Given tasks that wait for three recordings, one of them of a later version, and an invalid message
    index = QueueIndex(nats.client, NAMES, parts.messages, key=audio_file_id)
    first = await parts.publish("t1", audio_file_id="a.flac")
    await parts.publish("t2", audio_file_id="b.flac")
    await parts.publish("", body=b"{")
    await parts.publish("t3", audio_file_id="c.flac", later="field")
    # When the first task and tasks with the other recordings are due, then only its own recording is in no use
    own = reminder("t1", audio_file_id="a.flac", created_at=first.time, task_sequence=first.sequence)
    others = [reminder("t4", audio_file_id=name, task_sequence=9) for name in ("b.flac", "c.flac", "d.flac")]
    assert await recordings_in_use(index, [own, *others]) == {"b.flac", "c.flac"}


async def test_equal_hashes_of_two_names_are_distinguished(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given users and recordings whose tokens are the same
    monkeypatch.setattr(reminders_module, "token", lambda _: "same")
    await parts.reminders.put(reminder("mine", user_id=7))
    await parts.reminders.put(reminder("other", user_id=8, audio_file_id="b.flac", task_sequence=2))
    # Then each is found by its whole name
    assert [reminder.task_id async for reminder in parts.reminders.of_user(7)] == ["mine"]
    assert await parts.reminders.is_recording_needed(reminder(), kept_for_ever=False) is False


async def test_a_reminder_of_a_later_version_is_named(parts: Parts, nats: InMemoryNats) -> None:
    nats.streams[NAMES.retention].publish("retention.reminders.u.r.t9", b"later", {}, nats.now)
    with pytest.raises(UnreadableError, match=r"retention\.reminders\.u\.r\.t9"):
        await anext(parts.reminders.of_task("t9"))


async def test_the_oldest_due_reminder_has_its_time(parts: Parts, nats: InMemoryNats) -> None:
    assert await parts.reminders.oldest_due() is None
    await parts.reminders.put(reminder())
    assert await parts.reminders.oldest_due() is None
    nats.come_due(NAMES.retention)
    assert await parts.reminders.oldest_due() == nats.streams[NAMES.retention].messages[0].time


@pytest.mark.parametrize("ended_tasks", [0, 1, 2])
async def test_reminders_are_waited_for(
    parts: Parts, constants: Constants, ended_tasks: int, deleted: list[str]
) -> None:
    # Given ended tasks that have no reminders yet
    constants(SET_WITHIN_S=0.05)
    for number in range(ended_tasks):
        await ended(parts, f"t{number}")
    if ended_tasks:
        with pytest.raises(TransientError, match="try again in a moment"):
            await parts.reminders.wait_until_set()
    # When they have, then no call waits
    await run(parts)
    await parts.reminders.wait_until_set()


async def test_removed_outcomes_are_not_waited_for(parts: Parts, constants: Constants) -> None:
    # Given an outcome that was removed before its reminder was set
    constants(SET_WITHIN_S=0.05)
    await ended(parts)
    await parts.log.purge_outcome("t1")
    await parts.reminders.wait_until_set()


async def test_later_outcomes_are_not_waited_for(parts: Parts, nats: InMemoryNats, constants: Constants) -> None:
    # Given an ended task with a reminder, when another one ends after a wait has started
    constants(SET_WITHIN_S=0.05)
    await ended(parts)
    await run(parts)
    results = nats.streams[NAMES.results]
    nats.after(
        f"$JS.API.STREAM.INFO.{NAMES.results}", lambda: results.publish("append.results.t2", b"{}", {}, nats.now)
    )
    # Then the wait does not include the reminder of that one
    await parts.reminders.wait_until_set()
    assert results.consumers[NAMES.ended_tasks].settled < results.last_sequence


async def erase_user(parts: Parts) -> int:
    """Erase a user as a client does while a worker sets reminders, and return how many tasks that were."""
    request, count = UserRequest(user_id=7), 0
    running = asyncio.create_task(schedule(parts, DAY).run())
    try:
        while True:
            reply = await parts.users.delete(request)
            count += reply.tasks
            if reply.more_after is None:
                return count
            request = UserRequest(user_id=7, after=reply.more_after)
    finally:
        await cancel_all([running])


@pytest.mark.parametrize("within", [60.0, -1.0], ids=["in one answer", "in many answers"])
async def test_all_tasks_of_a_user_are_erased(
    parts: Parts, nats: InMemoryNats, deleted: list[str], constants: Constants, within: float
) -> None:
    # Given tasks of a user in every state, and those of others
    constants(REPLY_WITHIN_S=within)
    await ended(parts, "cancelled")
    await ended(parts, "failed", state=State.FAILED)
    await parts.reaching(State.RUNNING, "running")
    await parts.publish("waiting")
    await parts.publish("theirs", user_id="7")
    await parts.publish("", body=b"{")
    await ended(parts, "old", user_id="7")
    await run(parts)
    # When the user is erased
    count = await erase_user(parts)
    # Then nothing of them is left, and everything of the others
    assert count == 4
    assert [await is_known(parts, task_id) for task_id in ("cancelled", "failed", "running", "waiting")] == [False] * 4
    assert [message.sequence for message in nats.streams[NAMES.tasks].messages] == [5, 6]
    assert [stored_reminder.task_id for _, stored_reminder in stored(parts)] == ["old"]


async def test_a_task_with_the_id_of_another_is_only_removed_from_its_queue(parts: Parts, nats: InMemoryNats) -> None:
    # Given a task, and a second message with its id that a user has published
    await parts.reaching(State.RUNNING, "t1", user_id=8)
    await parts.publish("t1", user_id=7)
    assert await erase_user(parts) == 1
    assert await is_known(parts)
    assert [message.sequence for message in nats.streams[NAMES.tasks].messages] == [1]


@pytest.mark.parametrize(
    ("body", "erased"),
    [
        (b'{"task_id": "t1", "user_id": 7}', True),
        (b'{"task_id": "t1", "user_id": "7"}', False),
        (b'{"task_id": "t1", "user_id": 7.0}', False),
        (b'{"task_id": "t1", "user_id": true}', False),
        (b'{"task_id": "t1"}', False),
        (b"[7]", False),
        (b"7", False),
        (b"\xff", False),
        (b"{", False),
        (b'{"user_id": 7, "\xc3\xa9": 1}', True),
        (b'{"user_id": 7, "a": "\xff"}', True),
    ],
)
async def test_dead_letters_of_the_user_are_deleted(
    parts: Parts, nats: InMemoryNats, body: bytes, erased: bool
) -> None:
    # Given the dead letter of a message that is no task
    message = await parts.publish("", body=body)
    await parts.dead_letters.put(message, message.task_id, UNREADABLE, attempts=0)
    await parts.messages.delete(message)
    # When the user is erased, then it goes if it names them, and counts as no task
    assert await erase_user(parts) == 0
    assert (nats.streams[NAMES.dead_letters].messages == []) is erased


@pytest.mark.parametrize("own", [True, False])
async def test_the_log_of_a_dead_letter_is_deleted_with_it(
    parts: Parts, nats: InMemoryNats, deleted: list[str], own: bool
) -> None:
    # Given a failed task without a reminder, a dead letter of another message with the same id, and perhaps its own
    last = await parts.reaching(State.FAILED, "t1")
    message = await parts.message_of(last)
    await parts.messages.delete(message)
    await run(parts)
    await parts.reminders.remove_of_task("t1")
    await parts.dead_letters.put(replace(message, sequence=9), "t1", UNREADABLE, attempts=0)
    if own:
        await parts.dead_letters.put(message, "t1", UNREADABLE, attempts=1)
    # When the user is erased, then the dead letters are gone, and the task if one of them is its own
    assert await erase_user(parts) == own
    assert (await is_known(parts), nats.streams[NAMES.dead_letters].messages) == (not own, [])


async def test_a_user_is_erased_only_after_all_reminders_are_set(parts: Parts, constants: Constants) -> None:
    constants(SET_WITHIN_S=0.01)
    await ended(parts)
    with pytest.raises(RequestError, match="try again") as refused:
        await parts.users.delete(UserRequest(user_id=7))
    assert refused.value.detail.code is ErrorCode.INTERNAL
    # And that helps
    await run(parts)
    assert (await parts.users.delete(UserRequest(user_id=7))).tasks == 1


@pytest.mark.parametrize(("code", "is_reported"), [(ErrorCode.NOT_FOUND, False), (ErrorCode.INTERNAL, True)])
async def test_a_task_deleted_by_another_request_is_no_error(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, code: ErrorCode, is_reported: bool
) -> None:
    # Given a user's task that cannot be deleted
    await parts.publish("t1")
    monkeypatch.setattr(Erasure, "erase", AsyncMock(side_effect=RequestError(code, "words")))
    # When the user is erased, then only the obstacles are reported
    if is_reported:
        with pytest.raises(RequestError, match="words"):
            await erase_user(parts)
    else:
        await erase_user(parts)


@pytest.mark.parametrize(("letter", "remembered"), [(True, False), (False, True), (False, False)])
async def test_a_task_without_a_log_can_be_deleted_while_data_remains(
    parts: Parts, deleted: list[str], letter: bool, remembered: bool
) -> None:
    # Given what is left of a task: a dead letter, a reminder or nothing
    if letter:
        message = await parts.publish("t1")
        await parts.dead_letters.put(message, "t1", UNREADABLE, attempts=1)
        await parts.messages.delete(message)
    if remembered:
        await parts.reminders.put(reminder())
    # When it is deleted, then a task is unknown of which nothing is left
    if letter or remembered:
        await parts.tasks.delete("t1")
    with pytest.raises(RequestError) as unknown:
        await parts.tasks.delete("t1")
    assert unknown.value.detail.code is ErrorCode.NOT_FOUND
    assert deleted == ["a.flac"] * remembered


async def test_an_incomplete_deletion_is_reported(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    await ended(parts)
    away = TransientError(ErrorCode.INTERNAL, "away")
    monkeypatch.setattr(Erasure, "erase", AsyncMock(side_effect=away))
    with pytest.raises(RequestError, match="is not deleted completely"):
        await parts.tasks.delete("t1")


async def test_an_unanswered_request_is_reported(parts: Parts, nats: InMemoryNats) -> None:
    nats.before("$JS.API.STREAM.INFO", NatsTimeoutError())
    with pytest.raises(RequestError, match="No task t1 was found within 4 s"):
        await parts.tasks.status("t1")
