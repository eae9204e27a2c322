"""The scheduler grants waiting tasks to free slots, in the order of their turns."""

import asyncio
import json
import pickle
from collections.abc import AsyncIterator
from datetime import timedelta
from time import sleep

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.wire import Priority, TaskType

from app.runtime.cancellation import cancel_all
from app.storage.jetstream.pull_inbox import PullInbox
from app.storage.jetstream.slots import SlotPool
from app.tasks.queue.fair_queue import FairQueue, QueuedTask, Quota
from app.tasks.queue.grants import Grant
from app.tasks.queue.positions import QUESTION, REPLY
from app.tasks.queue.quotas import exceeded
from app.tasks.queue.scheduler import Scheduler
from app.tasks.queue.stored_message import StoredMessage
from tests.constants import Constants
from tests.consumers import make_scheduler
from tests.fakes.jetstream import Stream
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, Parts
from tests.waiting import eventually

READY = "ready.recordings"


class Workers:
    """Free slots of workers, and the grants that they receive."""

    def __init__(self, nats: InMemoryNats) -> None:
        self.granted: list[int] = []  # stream sequences of task messages
        self._nats = nats
        self.slots: list[asyncio.Task[None]] = []

    async def free(self, count: int = 1, slots: SlotPool = SlotPool.RECORDINGS) -> None:
        """Open pulls of so many workers, and notify the scheduler."""
        self.slots += [asyncio.create_task(self._pull(slots)) for _ in range(count)]
        await asyncio.sleep(0)

    async def _pull(self, slots: SlotPool) -> None:
        inbox = PullInbox(self._nats.client, NAMES.ready, NAMES.slot_consumer(slots))
        for grant in await inbox.pull(1, within=60):
            self.granted.append(int(grant.subject.rpartition(".")[2]))

    async def receive(self, *sequences: int) -> None:
        """Wait until exactly these tasks have been granted since the last call."""
        await eventually(lambda: len(self.granted) >= len(sequences))
        assert self.granted == list(sequences)
        self.granted.clear()

    async def take(self, sequence: int) -> None:
        """Free one slot, and wait until this task alone has been granted."""
        await self.free()
        await self.receive(sequence)


@pytest.fixture
async def workers(nats: InMemoryNats) -> AsyncIterator[Workers]:
    workers = Workers(nats)
    yield workers
    await cancel_all(workers.slots)


async def test_free_slots_get_the_tasks_whose_turn_it_is(parts: Parts, workers: Workers) -> None:
    # Given tasks of two users, and an urgent one
    for user in (1, 1, 1, 2):
        await parts.publish(f"t{user}", user_id=user)
    urgent = await parts.publish("urgent", TaskType.DIARIZATION, Priority.HIGH)
    async with parts.scheduling():
        # When slots become free, then each gets one task: the urgent one, then those of the users in turns
        await workers.take(urgent.sequence)
        await workers.free(2)
        await workers.receive(1, 4)
        # And no task is granted that has no free slot
        assert len(parts.server.streams[NAMES.ready].messages) == 3
        # And a task that is published while a slot is free, is granted immediately
        await workers.free(3)
        await workers.receive(2, 3)
        await parts.publish("new")
        await workers.receive(6)


async def test_live_tasks_get_slots_of_their_own(parts: Parts, workers: Workers) -> None:
    live = await parts.publish("live", TaskType.LIVE)
    async with parts.scheduling():
        await workers.free()
        await workers.free(1, SlotPool.LIVE)
        await workers.receive(live.sequence)


@pytest.mark.parametrize("is_stored", [False, True])
async def test_a_grant_that_nats_has_not_acknowledged_is_published_again(
    parts: Parts, nats: InMemoryNats, workers: Workers, constants: Constants, is_stored: bool
) -> None:
    # Given a grant whose acknowledgement is lost
    constants(RETRY_AFTER_S=0.01)
    (nats.after if is_stored else nats.before)(READY, NatsTimeoutError())
    for number in (1, 2):
        await parts.publish(f"t{number}")
    async with parts.scheduling():
        # When slots are free, then each task has one grant, in the order of the tasks
        await workers.free(2)
        await workers.receive(1, 2)
        assert [grant.subject for grant in nats.streams[NAMES.ready].messages] == [f"{READY}.1", f"{READY}.2"]


async def test_a_second_scheduler_grants_no_task_again(parts: Parts, workers: Workers) -> None:
    # Given an outdated holder of the lease that schedules, too
    for number in range(6):
        await parts.publish(f"t{number}")
    outdated = make_scheduler(parts.nats, NAMES)
    work = asyncio.create_task(outdated.run())
    async with parts.scheduling():
        await eventually(lambda: outdated.queue.waiting.total() == 6)
        # When slots become free, then each task is granted once, in order
        for sequence in range(1, 7):
            await workers.take(sequence)
    await cancel_all([work])


async def test_the_next_scheduler_counts_running_tasks_for_their_users(parts: Parts, workers: Workers) -> None:
    # Given two tasks of a user that run, and waiting tasks of this user and of another one
    for user in (1, 1, 1, 2):
        await parts.publish("t", user_id=user)
    for _ in range(2):
        await parts.deliver()
    # When another scheduler starts, then the other user is next, and no running task is granted again
    async with parts.scheduling():
        await workers.free(2)
        await workers.receive(4, 3)


async def test_a_deleted_task_is_not_granted(parts: Parts, workers: Workers) -> None:
    messages = [await parts.publish(f"t{number}") for number in range(3)]
    async with parts.scheduling() as scheduler:
        await parts.messages.delete(messages[0])
        await workers.take(2)
        # And when a running task ends, its user has a task less that runs, and its slot gets the next task
        assert scheduler.queue.running[7] == 1
        await parts.messages.delete(messages[1], seconds=5.0, by_worker=True)
        await eventually(lambda: 3 in scheduler.granted)
        assert scheduler.queue.running[7] == 1


async def test_a_slot_that_no_task_needed_is_counted_again(parts: Parts, nats: InMemoryNats, workers: Workers) -> None:
    # Given a worker that ended after its task, while no task waited
    first = await parts.publish("t1")
    async with parts.scheduling() as scheduler:
        await workers.take(1)
        await parts.messages.delete(first, by_worker=True)
        await eventually(lambda: not scheduler.granted)
        # When a task is published, then the slots are counted, and none is granted
        nats.requests.clear()
        await parts.publish("t2")
        await eventually(lambda: any("CONSUMER.INFO" in request for request in nats.requests))
        assert scheduler.queue.waiting.total() == 1


@pytest.mark.parametrize("counted_every_s", [0.0, 60.0])
async def test_the_slot_of_an_ended_task_is_granted_before_its_pull_is_open(
    parts: Parts, workers: Workers, constants: Constants, counted_every_s: float
) -> None:
    # Given slots that were counted a moment ago, or long ago
    constants(COUNTED_EVERY_S=counted_every_s)
    messages = [await parts.publish(f"t{number}") for number in range(3)]
    async with parts.scheduling() as scheduler:
        await workers.take(1)
        # When the task has ended, then one other is granted, although no pull is open
        await parts.messages.delete(messages[0], by_worker=True)
        await eventually(lambda: list(scheduler.granted) == [2])


async def test_a_slot_that_was_counted_twice_is_not_granted_again(
    parts: Parts, nats: InMemoryNats, workers: Workers, constants: Constants
) -> None:
    # Given a worker whose free slot is counted before the scheduler learns that its task has ended
    constants(WAKE_EVERY_S=0.05)
    messages = [await parts.publish(f"t{number}") for number in range(6)]
    async with parts.scheduling() as scheduler:
        await workers.take(1)
        await workers.take(2)
        await parts.messages.delete(messages[0], by_worker=True)
        # When the scheduler counts the slots again, and the next tasks end
        await eventually(lambda: scheduler.granted.keys() == {2, 3})
        await eventually(lambda: scheduler.free[SlotPool.RECORDINGS].count == -1)
        await parts.messages.delete(messages[1])
        await workers.take(3)
        # Then no task is granted for which there is no slot
        assert list(scheduler.granted) == [3]
        assert len(nats.streams[NAMES.ready].messages) == 3  # nobody has acknowledged the first two


async def test_a_task_waits_for_its_time(parts: Parts, nats: InMemoryNats, workers: Workers) -> None:
    # Given a server whose clock is ahead, a task that is due soon, one that is due later, and one whose time has passed
    nats.ahead = timedelta(hours=1)
    times = [nats.now + timedelta(seconds=seconds) for seconds in (2, 3600, -60)]
    for number, time in enumerate(times):
        await parts.publish(f"t{number}", user_id=number, not_before=time.isoformat())
    async with parts.scheduling() as scheduler:
        # When slots are free, then the task without a time ahead is granted, and the other one when it is due
        await workers.free(3)
        await workers.receive(3)
        assert nats.now < times[0]
        await workers.receive(1)
        assert nats.now >= times[0]
        # And the last one counts for its user only when it is due
        assert scheduler.queue.waiting.total() == 0


async def test_a_due_task_starts_although_the_clock_steps_back(
    parts: Parts, nats: InMemoryNats, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task that is due, and an estimate of the server's clock that steps back while its message is read
    due_at = nats.now + timedelta(hours=1)
    clock = [nats.now]
    monkeypatch.setattr(Scheduler, "_now", property(lambda _: clock[-1]))
    await parts.publish("t1", not_before=due_at.isoformat())
    find = parts.messages.find

    async def step_back(subject: str | None, sequence: int) -> StoredMessage | None:
        clock.append(due_at - timedelta(seconds=1))
        return await find(subject, sequence)

    monkeypatch.setattr(parts.messages, "find", step_back)
    async with parts.scheduling():
        clock.append(due_at)
        # Then it starts
        await workers.take(1)


async def test_a_task_that_is_cancelled_when_it_is_due_does_not_start(
    parts: Parts, nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task that is cancelled just when the scheduler has read its message
    message = await parts.publish("t1", not_before=(nats.now + timedelta(hours=1)).isoformat())
    find = parts.messages.find

    async def cancel(subject: str | None, sequence: int) -> StoredMessage | None:
        stored = await find(subject, sequence)
        monkeypatch.setattr(parts.messages, "find", find)
        await parts.messages.delete(message)
        return stored

    async with parts.scheduling() as scheduler:
        monkeypatch.setattr(parts.messages, "find", cancel)
        monkeypatch.setattr(Scheduler, "_now", property(lambda _: nats.now + timedelta(hours=2)))
        # When its time has come, then it does not wait for a slot
        await eventually(lambda: len(scheduler.scheduled) == 0)
        await asyncio.sleep(0)
        assert scheduler.queue.waiting.total() == 0


async def test_a_time_with_escapes_is_kept(parts: Parts, nats: InMemoryNats, workers: Workers) -> None:
    time = (nats.now + timedelta(hours=1)).isoformat()
    body = f'{{"task_id": "t1", "audio_file_id": "a.flac", "user_id": 7, "not\\u005fbefore": "{time}"}}'
    await parts.publish("", body=body.encode())
    async with parts.scheduling() as scheduler:
        assert (len(scheduler.scheduled), scheduler.queue.waiting.total()) == (1, 0)


async def test_cancelled_schedules_leave_nothing_behind(parts: Parts, nats: InMemoryNats) -> None:
    time = (nats.now + timedelta(hours=1)).isoformat()
    async with parts.scheduling() as scheduler:
        for number in range(300):
            await parts.messages.delete(await parts.publish(f"t{number}", not_before=time))
        await eventually(lambda: not scheduler.scheduled)
        assert len(pickle.dumps(scheduler.scheduled)) < 3000  # bytes


async def test_reading_many_tasks_gives_way_to_starts(
    parts: Parts, nats: InMemoryNats, workers: Workers, constants: Constants
) -> None:
    # Given a scheduler that has many waiting tasks to read, and is notified of something
    constants(PAUSE=1e6, ACTIVE_FOR_S=60)
    for _ in range(450):
        await parts.publish("t", priority=Priority.LOW)
    notices = list[asyncio.Task[None]]()
    nats.before(
        f"$JS.API.STREAM.INFO.{NAMES.tasks}",
        lambda: notices.append(asyncio.create_task(nats.publish(subjects.REMOVED, b"{}"))),
    )
    work = asyncio.create_task(parts.scheduler.run())
    await eventually(lambda: parts.scheduler.queue.waiting.total() > 0)
    # When an urgent task is published, then it starts before the next page is read
    urgent = await parts.publish("urgent", priority=Priority.HIGH)
    await workers.take(urgent.sequence)
    assert parts.scheduler.queue.waiting.total() == 200
    await cancel_all([work, *notices])


async def test_tasks_of_a_recreated_stream_are_noticed_soon(
    parts: Parts, nats: InMemoryNats, workers: Workers, constants: Constants
) -> None:
    # Given a scheduler that has read some messages
    constants(AUDIT_EVERY_S=60, REREAD_EVERY_S=60)
    for number in range(5):
        await parts.publish(f"t{number}")
    async with parts.scheduling() as scheduler:
        # When the stream is recreated, whose sequences start again
        nats.streams[NAMES.tasks] = Stream(nats.streams[NAMES.tasks].config)
        await parts.publish("new", user_id=8)
        # Then the scheduler knows its task alone
        await eventually(lambda: dict(scheduler.queue.waiting) == {8: 1}, within=5)
        await workers.take(1)


async def test_a_missed_task_behind_scheduled_ones_is_noticed(
    parts: Parts, nats: InMemoryNats, constants: Constants
) -> None:
    # Given a task behind scheduled ones, which the scheduler has forgotten, because a client has forged a notice
    constants(REREAD_EVERY_S=0.02, REREAD=10)
    time = (nats.now + timedelta(hours=1)).isoformat()
    for number in range(100):
        await parts.publish(f"t{number}", not_before=time)
    message = await parts.publish("waits")
    async with parts.scheduling() as scheduler:
        forged = Grant(subject=message.subject, sequence=message.sequence, user=message.user)
        await nats.publish(subjects.REMOVED, forged.model_dump_json().encode())
        assert scheduler.queue.waiting.total() == 0
        # Then an audit notices it
        await eventually(lambda: scheduler.queue.waiting.total() == 1)


async def test_each_attempt_at_a_task_is_charged_to_its_user(parts: Parts, workers: Workers) -> None:
    # Given two users, and an attempt at a task of the first one, which has failed
    first, *_ = [await parts.publish(f"t{number}", user_id=number % 2) for number in range(6)]
    async with parts.scheduling() as scheduler:
        await workers.take(1)
        await parts.messages.note_retry(first)
        # When slots are free, then the other user has two tasks, and the first one is still granted
        for sequence in (2, 4):
            await workers.take(sequence)
        assert 1 in scheduler.granted


async def test_a_removed_task_that_holds_no_slot_frees_none(parts: Parts, workers: Workers) -> None:
    # Given a task with a grant and without a slot, for example because it waits for the time of its retry
    messages = [await parts.publish(f"t{number}") for number in range(3)]
    async with parts.scheduling() as scheduler:
        for sequence in (1, 2):
            await workers.take(sequence)
        # When it is deleted, then no task is granted for it
        await parts.messages.delete(messages[0])
        await eventually(lambda: 1 not in scheduler.granted)
        await asyncio.sleep(0.05)
        assert list(scheduler.granted) == [2]
        # And when the worker of the other one deletes it, then its slot gets a task
        await parts.messages.delete(messages[1], by_worker=True)
        await eventually(lambda: list(scheduler.granted) == [3])


async def test_a_user_with_too_many_waiting_tasks_is_refused(parts: Parts, workers: Workers) -> None:
    rejected: list[tuple[int, ErrorDetail]] = []

    async def reject(message: StoredMessage, error: ErrorDetail) -> bool:
        rejected.append((message.sequence, error))
        await parts.messages.delete(message)
        return True

    quota = Quota(max_waiting=2)
    expected = [(3, exceeded(quota))]
    parts.scheduler = make_scheduler(parts.nats, NAMES, quota=quota, reject=reject)
    async with parts.scheduling() as scheduler:
        for user in (1, 1, 1, 2):
            await parts.publish("t", user_id=user)
        await eventually(lambda: rejected == expected)
        # And when one starts, then another may wait
        await workers.take(1)
        await parts.publish("t", user_id=1)
        await eventually(lambda: scheduler.queue.waiting[1] == 2)
        assert rejected == expected


async def test_a_task_that_cannot_be_rejected_yet_holds_up_no_other(parts: Parts) -> None:
    # Given a user with two tasks too many, of which the first cannot be rejected for the time being
    rejected = list[int]()

    async def reject(message: StoredMessage, _: ErrorDetail) -> bool:
        if message.sequence == 2:
            raise NatsTimeoutError
        rejected.append(message.sequence)
        return True

    parts.scheduler = make_scheduler(parts.nats, NAMES, quota=Quota(max_waiting=1), reject=reject)
    async with parts.scheduling():
        # When they are published, then the other one is rejected
        for _ in range(3):
            await parts.publish("t", user_id=1)
        await eventually(lambda: rejected == [3])


async def test_a_task_that_is_being_rejected_is_not_admitted(
    parts: Parts, nats: InMemoryNats, constants: Constants
) -> None:
    # Given a user with too many waiting tasks, whose last one is being rejected
    constants(AUDIT_EVERY_S=0.01, REREAD_EVERY_S=0.01)
    rejected, may_end = list[int](), asyncio.Event()

    async def reject(message: StoredMessage, _: ErrorDetail) -> bool:
        rejected.append(message.sequence)
        return not await may_end.wait()  # it could not be rejected

    parts.scheduler = make_scheduler(parts.nats, NAMES, quota=Quota(max_waiting=1), reject=reject)
    async with parts.scheduling() as scheduler:
        first, last = [await parts.publish("t", user_id=1) for _ in range(2)]
        await eventually(lambda: rejected == [last.sequence])
        # When the other one is cancelled, and the messages are read again several times
        await parts.messages.delete(first)
        requests = len(nats.requests) + 100
        await eventually(lambda: len(nats.requests) > requests)
        # Then the task waits for its rejection, and is admitted once because it could not be rejected
        assert scheduler.queue.waiting.total() == 0
        may_end.set()
        await eventually(lambda: scheduler.queue.waiting[1] == 1)
        assert rejected == [last.sequence]


async def test_a_stopped_scheduler_receives_nothing(parts: Parts, nats: InMemoryNats) -> None:
    await parts.publish("t1")
    subscribed = list(nats.subscriptions)
    async with parts.scheduling():
        assert len(nats.subscriptions) > len(subscribed)
    assert nats.subscriptions == subscribed


async def test_a_lost_grant_is_noticed(
    parts: Parts, nats: InMemoryNats, workers: Workers, constants: Constants
) -> None:
    # Given a task whose grant is lost
    constants(AUDIT_EVERY_S=0.05, REREAD_EVERY_S=60)
    await parts.publish("t1")
    async with parts.scheduling():
        await workers.take(1)
        nats.streams[NAMES.ready].remove(nats.streams[NAMES.ready].messages)
        # Then the task is granted again
        await workers.take(1)


async def test_a_task_that_ends_while_it_is_read_again_does_not_wait_again(
    parts: Parts, workers: Workers, constants: Constants, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task that runs, and ends just after the scheduler has read its message again
    constants(REREAD_EVERY_S=0.02)
    message, read = await parts.publish("t1"), parts.messages.page_after
    read_again: list[int] = []

    async def end_meanwhile(subject: str, sequence: int, *, count: int) -> list[StoredMessage]:
        messages = await read(subject, sequence, count=count)
        read_again.append(len(messages))
        if messages and message.sequence in parts.scheduler.granted:
            await parts.messages.delete(message)
            await eventually(lambda: message.sequence not in parts.scheduler.granted)
        return messages

    async with parts.scheduling() as scheduler:
        await workers.take(1)
        monkeypatch.setattr(parts.messages, "page_after", end_meanwhile)
        await eventually(lambda: read_again[-2:] == [0, 0])  # there is no message
        # Then it does not wait again
        assert (scheduler.queue.waiting.total(), scheduler.queue.running.total()) == (0, 0)


async def test_positions_that_come_too_late_are_unknown(
    parts: Parts, constants: Constants, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants(COMPUTED_WITHIN_S=0.02)
    messages = [await parts.publish(f"t{number}") for number in range(3)]

    def compute(_: FairQueue, __: QueuedTask) -> tuple[int, float]:
        sleep(0.03)
        return 0, 0.0

    monkeypatch.setattr(FairQueue, "before", compute)
    async with parts.scheduling():
        question = QUESTION.dump_json([Grant.of(message.queued_task) for message in messages])
        reply = await parts.nats.request(subjects.POSITIONS, question, timeout=10)
    assert REPLY.validate_json(reply.data)[1:] == [None, None]


async def test_tasks_start_while_many_positions_are_computed(
    parts: Parts, workers: Workers, constants: Constants, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a request for the positions of many tasks, each of which takes long to compute
    constants(PAUSED_S=60, WAKE_EVERY_S=0.05)
    messages = [await parts.publish(f"t{number}") for number in range(4)]
    is_computed = asyncio.Event()

    def compute(_: FairQueue, __: QueuedTask) -> tuple[int, float]:
        is_computed.set()
        sleep(0.05)  # blocks the scheduler
        return 0, 0.0

    monkeypatch.setattr(FairQueue, "before", compute)
    async with parts.scheduling():
        question = QUESTION.dump_json([Grant.of(message.queued_task) for message in messages])
        reply = asyncio.create_task(parts.nats.request(subjects.POSITIONS, question, timeout=60))
        await is_computed.wait()
        # When a slot becomes free, then a task is granted before the reply is complete
        await workers.take(1)
        assert not reply.done()
        await cancel_all([reply])


async def test_waiting_tasks_that_are_read_again_are_reported(
    parts: Parts, workers: Workers, constants: Constants
) -> None:
    # Given a task that runs, and others that wait
    constants(REREAD_EVERY_S=0.02, REREAD=2)
    reported: list[int] = []
    for number in range(4):
        await parts.publish(f"t{number}")
    await parts.deliver()
    parts.scheduler = make_scheduler(
        parts.nats, NAMES, report_waiting=lambda message: reported.append(message.sequence)
    )
    # Then the others are reported, again and again
    async with parts.scheduling():
        await eventually(lambda: reported[:6] == [2, 3, 4, 2, 3, 4])


INVALID_USERS = [True, 1.5, "", "a" * 65, "\x07", 2**63, [1], None]
NO_TASKS = [b"", b"{", b"[]", b"1", b'{"user_id": "\\ud800"}', b"\xff" * 9, b"[" * 10_000]
OF_INVALID_USERS = [json.dumps({"task_id": "t1", "user_id": user}).encode() for user in INVALID_USERS]


@pytest.mark.parametrize("body", [*OF_INVALID_USERS, *NO_TASKS])
async def test_messages_without_a_valid_user_are_granted(parts: Parts, workers: Workers, body: bytes) -> None:
    # Given a message with an invalid user id, or none, which a worker has to reject
    await parts.publish("", body=body)
    async with parts.scheduling() as scheduler:
        assert scheduler.queue.waiting == {None: 1}
        await workers.take(1)


async def test_invalid_notices_do_no_harm(parts: Parts, workers: Workers) -> None:
    await parts.publish("t1")
    async with parts.scheduling():
        for subject in ("scheduler.removed", "scheduler.positions", "accepted.tasks.live.low"):
            await parts.server.publish(subject, b"{")
        await workers.take(1)
