"""What a log on a stream keeps and refuses, when others append, remove or disturb meanwhile."""

from datetime import UTC, datetime

import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError, BadRequestError
from natscribe.schemas.progress import State, next_event

from app.runtime.errors import FencedError, TransientError
from app.storage.jetstream.stream_log import StreamLog
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Metadata, Record
from tests.constants import Constants
from tests.fakes.messages import event
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES
from tests.publishers import publishers

NOW = datetime.now(UTC)
METADATA = Metadata(None, 3, "tasks.transcription.high", NOW)
APPEND = "append.progress.t1"
READ = "$JS.API.STREAM.MSG.GET"
REPLICATING = [BadRequestError(code=400, err_code=10164), APIError(code=409, err_code=10158)]


@pytest.fixture
def log(nats: InMemoryNats) -> TaskLog:
    return TaskLog(nats.client, publishers(nats.client), NAMES, "w")


def garbage(nats: InMemoryNats, subject: str = "progress.t1") -> None:
    """Store a message that is no record."""
    nats.streams[NAMES.progress].publish(f"append.{subject}", b"{", {}, NOW)


def stored(nats: InMemoryNats) -> list[int]:
    return [message.sequence for message in nats.streams[NAMES.progress].messages]


async def test_an_unanswered_append_is_repeated(log: TaskLog, nats: InMemoryNats) -> None:
    # Given a server that does not reply twice, and one that replicates another append, or this one, at this moment
    nats.before(APPEND, NatsTimeoutError(), NoRespondersError(), *REPLICATING)
    # When a record is appended, then it is stored once
    record = await log.append(event(), METADATA, after=0)
    assert stored(nats) == [record.stream_sequence]


@pytest.mark.parametrize("recognised", [True, False])
async def test_an_append_whose_acknowledgement_was_lost_is_found(
    log: TaskLog, nats: InMemoryNats, recognised: bool
) -> None:
    # Given a log, and a server that stores the next append, does not say so, and may not recognise it later
    first = await log.append(event(), METADATA, after=0)

    def lose() -> None:
        if not recognised:
            nats.streams[NAMES.progress].ids.clear()
        raise NatsTimeoutError

    nats.after(APPEND, lose)
    # When the append is repeated, then it is the stored one
    second = await log.append(next_event(first.event, State.RUNNING), METADATA, after=first.stream_sequence)
    assert stored(nats) == [first.stream_sequence, second.stream_sequence]


async def test_a_record_of_another_writer_fences(log: TaskLog, nats: InMemoryNats) -> None:
    first = await log.append(event(), METADATA, after=0)
    other = TaskLog(nats.client, publishers(nats.client), NAMES, "other")
    await other.append(next_event(first.event, State.RUNNING), METADATA, after=first.stream_sequence)
    with pytest.raises(FencedError):
        await log.append(next_event(first.event, State.CANCELLED), METADATA, after=first.stream_sequence)
    with pytest.raises(FencedError):
        await log.append(event(), METADATA, after=0)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_message_that_is_no_record_fences_nobody(log: TaskLog, nats: InMemoryNats, begun: bool) -> None:
    # Given a log with a message that the service did not write
    after = (await log.append(event(), METADATA, after=0)).stream_sequence if begun else 0
    garbage(nats)
    # When a record is appended, then it follows
    record = await log.append(event(), METADATA, after=after)
    assert record.stream_sequence == stored(nats)[-1]
    # And what is read is the last record, in spite of further garbage
    garbage(nats)
    assert await log.last("t1") == record
    assert (await log.last_of(["t1", "t2"])) == {"t1": record}


async def test_a_log_without_records_has_no_last_one(log: TaskLog, nats: InMemoryNats) -> None:
    assert await log.last("t1") is None
    garbage(nats)
    assert await log.last("t1") is None
    assert await log.last_of(["t1"]) == {}
    assert await log.last_of([]) == {}


async def test_a_record_behind_a_removed_one_is_refused(log: TaskLog) -> None:
    # Given a log that a client has removed
    first = await log.append(event(), METADATA, after=0)
    await log.purge_events("t1")
    # When its writer continues, then that is refused
    with pytest.raises(FencedError):
        await log.append(next_event(first.event, State.RUNNING), METADATA, after=first.stream_sequence)


async def test_an_append_refused_by_a_deposed_leader_is_repeated(log: TaskLog, nats: InMemoryNats) -> None:
    # Given a server that refuses an append although it follows the last record
    first = await log.append(event(), METADATA, after=0)
    nats.before(APPEND, BadRequestError(code=400, err_code=10071))
    # When a record is appended, then it is stored at the second try
    second = await log.append(next_event(first.event, State.RUNNING), METADATA, after=first.stream_sequence)
    assert await log.last("t1") == second


async def test_an_unacknowledged_append_is_found_despite_stale_reads(log: TaskLog, nats: InMemoryNats) -> None:
    # Given a server that stores an append, does not say so, and was just the leader: its next two reads miss the record
    first = await log.append(event(), METADATA, after=0)
    stream = nats.streams[NAMES.progress]
    all_messages = []

    def lose() -> None:
        stream.ids.clear()
        raise NatsTimeoutError

    def hide() -> None:
        all_messages.extend(stream.messages)
        stream.messages = all_messages[:1]

    def show() -> None:
        stream.messages = all_messages

    nats.after(APPEND, lose)
    nats.before(READ, hide)
    nats.after(READ, lambda: None, show)
    # When the append is repeated, then it is the stored one
    second = await log.append(next_event(first.event, State.RUNNING), METADATA, after=first.stream_sequence)
    assert stored(nats) == [first.stream_sequence, second.stream_sequence]


async def test_other_refusals_are_raised(log: TaskLog, nats: InMemoryNats) -> None:
    nats.before(APPEND, BadRequestError(code=400, err_code=10060))
    with pytest.raises(BadRequestError):
        await log.append(event(), METADATA, after=0)


@pytest.mark.parametrize(("connected", "given_up"), [(True, True), (False, False)])
async def test_requests_time_out_only_while_the_connection_is_open(
    log: TaskLog, nats: InMemoryNats, constants: Constants, connected: bool, given_up: bool
) -> None:
    # Given a server that leaves five requests unanswered, and no patience
    constants(GIVE_UP_AFTER_S=0.0 if connected else 0.001)
    nats.is_connected = connected
    nats.before(READ, *[NatsTimeoutError()] * 5)
    # When a log is read, then the task fails for now, unless the connection is lost
    if given_up:
        with pytest.raises(TransientError, match=r"does not answer about progress\.t1"):
            await log.last("t1")
    else:
        assert await log.last("t1") is None


async def test_a_stray_first_record_is_waited_for(log: TaskLog, nats: InMemoryNats) -> None:
    # Given a stream that has lost its transform, and a worker that appends strays again
    stream = nats.streams[NAMES.progress]
    transform = stream.config.pop("subject_transform")

    def mend() -> None:
        (stray,) = stream.messages
        stream.config["subject_transform"] = transform
        stream.publish(stray.subject, stray.body, {"ce-id": stray.headers["ce-id"]}, stray.time)
        stream.remove([stray])

    nats.before(READ, lambda: None, lambda: None, mend)
    # When a log begins, then its record is where the log is
    record = await log.append(event(), METADATA, after=0)
    assert [(message.subject, message.sequence) for message in stream.messages] == [
        ("progress.t1", record.stream_sequence)
    ]
    assert record.stream_sequence == 2


@pytest.mark.parametrize("other", [True, False], ids=["another writer has begun the log", "the record was removed"])
async def test_a_removed_first_record_fences_its_writer(log: TaskLog, nats: InMemoryNats, other: bool) -> None:
    # Given a first record that went astray
    stream = nats.streams[NAMES.progress]
    transform = stream.config.pop("subject_transform")

    def lose() -> None:
        stray = stream.messages[0]
        stream.config["subject_transform"] = transform
        if other:
            stream.publish(APPEND, stray.body, stray.headers | {"ce-id": "other"} | NO_CONDITION, stray.time)
        stream.remove([stray])

    # When it is lost, then its writer knows that it is no owner
    nats.before(READ, lambda: None, lose)
    with pytest.raises(FencedError):
        await log.append(event(), METADATA, after=0)


NO_CONDITION = {"Nats-Expected-Last-Subject-Sequence": "0"}


async def test_a_purge_ends_with_its_last_sequence(log: TaskLog, nats: InMemoryNats) -> None:
    # Given a log of two records, and another one
    first = await log.append(event(), METADATA, after=0)
    second = await log.append(next_event(first.event, State.RUNNING), METADATA, after=first.stream_sequence)
    other = await log.append(event(task_id="t2"), METADATA, after=0)
    # When the first record is undone, then only that one is gone
    await log.undo(first)
    assert stored(nats) == [second.stream_sequence, other.stream_sequence]


async def test_the_records_of_a_log_are_read_in_order(log: TaskLog, nats: InMemoryNats) -> None:
    first = await log.append(event(), METADATA, after=0)
    garbage(nats)
    await log.append(event(task_id="t2"), METADATA, after=0)
    second = await log.append(next_event(first.event, State.RUNNING), METADATA, after=2)
    progress = StreamLog(nats.client, publishers(nats.client).progress, NAMES.progress, Record.read)
    assert [record async for record in progress.records("progress.t1")] == [first, second]
