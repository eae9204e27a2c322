"""The service and its clients work as documented, each as the user with the least permissions."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial

import pytest
from nats.aio.client import Client as Nats
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import AckPolicy, ConsumerConfig
from natscribe.client import Client
from natscribe.client.errors import ClientError
from natscribe.schemas import subjects
from natscribe.schemas.erased import Erased
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import Partial, TurnEvent
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import ResultFormat
from natscribe.schemas.transcription import SegmentsEvent, Source, TranscriptionResult
from natscribe.schemas.voices import Consent
from natscribe.schemas.wire import Kind, Priority, TaskType

from app.engines.messages import LiveDiarization
from app.main import Worker
from app.runtime.errors import PermanentError
from app.settings import Settings, Share
from app.storage.jetstream.streams import all_stream_configs
from app.storage.redis.keys import MARK
from app.tasks.retention.reminders import Reminder
from tests.access.rules import configured, covers
from tests.access.servers import RECORDING, GuardedNats, connected, login
from tests.fakes.engine import FakeEngine
from tests.waiting import eventually
from tests.workers import working

SECOND = bytes(2 * 16_000)  # of live audio
DIED = PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")
# Requests that are sent only if a log was tampered with, or a task expires.
RARE = {"$JS.API.DIRECT.GET.transcription_tasks", "$JS.API.DIRECT.GET.transcription_progress"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    quick = {"task_retry_delay": 0.1, "cache_ttl": 0}
    return settings.model_copy(update=quick | {"share_windows": Share.ALWAYS, "engine_parallel": 1, "engine_batch": 1})


@pytest.fixture
async def publisher(settings: Settings, worker: Worker) -> AsyncIterator[Client]:
    async with Client(login(settings, "publisher")) as client:
        yield client


@pytest.fixture
async def operator(settings: Settings, worker: Worker) -> AsyncIterator[Client]:
    async with Client(login(settings, "operator")) as client:
        yield client


@pytest.fixture
async def follower(guarded: GuardedNats, worker: Worker) -> AsyncIterator[Nats]:
    """Another program, with nothing but nats-py."""
    async with connected(guarded, "follower") as connection:
        yield connection


async def end_of(client: Client, task_id: str) -> State:
    last = None
    async for event in client.follow(task_id):
        last = event if isinstance(event, ProgressEvent) else last
    assert last is not None
    return last.state


async def create(client: Client, kind: Kind, priority: Priority) -> str:
    if kind is Kind.TRANSCRIPTION:
        return await client.create_transcription_task(RECORDING, priority=priority)
    return await client.create_diarization_task(RECORDING, priority=priority)


async def in_queue(client: Client, queue: TaskType, priority: Priority) -> str:
    if queue is not TaskType.LIVE:
        return await create(client, queue.kind, priority)
    task = f"live-{priority}"
    with suppress(ClientError):  # the task may fail before its audio has ended
        async with client.live(task_id=task, idle_seconds=1, priority=priority) as live:
            await live.send(SECOND)
    return task


async def a_live_task(publisher: Client, follower: Nats) -> str:
    """Live audio with speakers that is stored as a recording, and a reader of its partial results and turns."""
    partials, turns = await follower.subscribe("partials.*"), await follower.subscribe("turns.*")
    async with publisher.live(keep_audio=True, diarize=True, turns=True) as live:
        await live.send(4 * SECOND)
        partial = Partial.model_validate_json((await partials.next_msg(timeout=10)).data)
    turn = TurnEvent.model_validate_json((await turns.next_msg(timeout=10)).data)
    assert (partial.task_id, turn.task_id) == (live.task_id, live.task_id)
    assert (await live.result()).source is Source.LIVE
    return live.task_id


async def a_voice(publisher: Client, follower: Nats) -> str:
    """A speaker who is enrolled, identified, renamed and erased."""
    forgotten = await follower.subscribe("voices.forgotten.*")
    call = await publisher.create_diarization_task(RECORDING, identify=True)
    assert await end_of(publisher, call) is State.COMPLETED
    consent = Consent(by="Anna", at=datetime.now(UTC))
    voice = await publisher.enroll_voice(call, "SPEAKER_00", name="Anna", consent=consent)
    task = await publisher.create_transcription_task(RECORDING, diarize=True, identify=True)
    result = await publisher.wait_for_result(task)
    assert {voice.name for voice in (result.voices or {}).values()} == {"Anna", "unknown"}
    assert (await publisher.rename_voice(voice.voice, "Anna Berg")).name == "Anna Berg"
    assert [voice.name async for voice in publisher.voices()] == ["Anna Berg"]
    await publisher.forget_voice(voice.voice)
    assert (await forgotten.next_msg(timeout=10)).subject == f"voices.forgotten.{voice.voice}"
    await publisher.delete(call)
    return task


async def all_are_listed(client: Client) -> bool:
    return len((await client.tasks(state=State.FAILED)).tasks) == 9


async def every_queue(publisher: Client, operator: Client, engine: FakeEngine) -> list[str]:
    """A task in each queue that fails, and is replayed."""
    engine.fail_with, engine.live_failures = [DIED] * 6, [DIED] * 3
    tasks = [await in_queue(publisher, queue, priority) for queue in TaskType for priority in Priority]
    assert [await end_of(publisher, task) for task in tasks] == [State.FAILED] * 9
    assert {letter.task_id async for letter in operator.dead_letters()} == set(tasks)
    assert (await operator.queue()).dead_letters == 9
    for client in (publisher, operator):
        await eventually(partial(all_are_listed, client))
    replayed = 0
    while replayed < 9:  # a worker with much to do replies before it has replayed all
        replayed += await operator.replay(code=ErrorCode.WORKER_LOST)
    assert [await end_of(publisher, task) for task in tasks] == [State.COMPLETED] * 9
    return tasks


class Slow(FakeEngine):
    """An engine that processes each window slowly."""

    def __init__(self, windows: int) -> None:
        super().__init__(windows=windows)
        self.processed: list[int] = []

    async def transcribes(self, number: int) -> None:
        self.processed.append(number)
        await asyncio.sleep(0.2)


async def a_task_with_help(
    settings: Settings, publisher: Client, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A recording that two workers transcribe."""
    engines = [Slow(windows=20), Slow(windows=20)]
    engine.windows, engine.text = 3, "one two"
    with monkeypatch.context() as slow:
        slow.setattr(engine, "windows", 20)
        slow.setattr(engine, "transcribes", engines[0].transcribes)
        async with working(settings, engines[1]):
            task = await create(publisher, Kind.TRANSCRIPTION, Priority.HIGH)
            assert await end_of(publisher, task) is State.COMPLETED
    assert all(engine.processed for engine in engines)
    return task


async def let_time_pass(worker: Worker, publisher: Client) -> None:
    """A task with a retention of one minute, after that minute."""
    task, reminders = await publisher.create_transcription_task(RECORDING, keep_seconds=60), worker.container.reminders
    assert await end_of(publisher, task) is State.COMPLETED

    async def stored_reminders() -> list[Reminder]:
        return [reminder async for reminder in reminders.of_task(task)]

    (reminder,) = await eventually(stored_reminders)
    now = datetime.now(UTC)
    await reminders.put(reminder.model_copy(update={"task_until": now, "recording_until": now}))

    async def is_erased() -> bool:
        return not await publisher.has_events(task) and not await stored_reminders()

    await eventually(is_erased)


async def streams_are_stripped(guarded: GuardedNats, settings: Settings) -> None:
    """Let an administrator make each stream useless, and wait until the service has restored all of them."""
    async with connected(guarded, "admin") as admin:
        js = admin.jetstream()
        for config in all_stream_configs(settings):
            await js.update_stream(config.evolve(republish=None, subject_transform=None, allow_direct=False))

        async def are_back() -> bool:
            infos = [await js.stream_info(str(config.name)) for config in all_stream_configs(settings)]
            return all(info.config.allow_direct for info in infos)

        await eventually(are_back)


async def test_all_that_the_service_promises(
    guarded: GuardedNats,
    settings: Settings,
    worker: Worker,
    engine: FakeEngine,
    publisher: Client,
    operator: Client,
    follower: Nats,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given guarded servers, and tasks of each kind and priority that were replayed from their dead letters
    tasks = await every_queue(publisher, operator, engine)
    # When a result is larger than a message, as JSON and as text
    engine.windows, engine.text = 30, "word " * 10_000
    large = await create(publisher, Kind.TRANSCRIPTION, Priority.HIGH)
    assert await end_of(publisher, large) is State.COMPLETED
    for result_format in (ResultFormat.JSON, ResultFormat.TXT):
        result = await publisher.get_task_result(large, result_format)
        text = result.text if isinstance(result, TranscriptionResult) else result
        assert isinstance(text, str)
        assert len(text) > 1_000_000
    # And another worker helps with a long recording
    helped = await a_task_with_help(settings, publisher, engine, monkeypatch)
    # And a live transcription task
    engine.live_speakers = [LiveDiarization(turns=[], merged={}, settled_until=0.0, state="")]
    spoken = await a_live_task(publisher, follower)
    # And an enrolled speaker
    named = await a_voice(publisher, follower)
    # And a task is cancelled
    engine.may_go_on.clear()
    cancelled = await create(publisher, Kind.TRANSCRIPTION, Priority.LOW)
    assert (await publisher.cancel(cancelled)).state is State.CANCELLED
    engine.may_go_on.set()
    # And requests of a user who may only read
    await follower.request("tasks.status", json.dumps({"task_id": cancelled}).encode(), timeout=5)
    # And Redis loses what it had
    await worker.container.projection._redis.delete(MARK)  # noqa: SLF001 -- the service's own user is the one that may
    await worker.container.maintenance.restart_projection()
    # And an administrator takes from each stream what the service needs
    await streams_are_stripped(guarded, settings)
    # And the time of a task is over, and a user is deleted
    await let_time_pass(worker, publisher)
    annas = [await publisher.create_transcription_task(RECORDING, user_id="anna") for _ in range(2)]
    assert [await end_of(publisher, task) for task in annas] == [State.COMPLETED] * 2
    await publisher.delete(annas[0])
    assert await publisher.delete_user("anna") == 1
    # And all is deleted
    for task in (*tasks, large, helped, spoken, named, cancelled):
        await publisher.delete(task)
    # Then everybody who may read results is told what was erased
    erased = {event.task_id async for event in operator.erased()}
    assert erased >= {*tasks, *annas, large, helped, spoken, named, cancelled}
    # And no request was refused
    assert guarded.refused() == []
    # And the service was granted nothing that it did not use
    assert unused(guarded, "service") <= RARE


def unused(server: GuardedNats, user: str) -> set[str]:
    """The unused permissions of a user, by the log of the server."""
    connections: set[str] = set()
    subjects: dict[str, set[str]] = {"PUB": set(), "SUB": set()}
    for line in server.log:
        match = re.search(r"cid:(\d+) .*<<- \[(?:H?(PUB)|(SUB)|CONNECT) (\S+)(.*)", line)
        if match is None:
            continue
        connection, published, subscribed, subject, rest = match.groups()
        if published or subscribed:
            if connection in connections:
                subjects[published or subscribed].add(subject)
        elif f'"user": "{user}"' in rest:
            connections.add(connection)
    rules = configured()[user]
    used = {pattern for pattern in rules.publish if any(covers(pattern, subject) for subject in subjects["PUB"])}
    received = {pattern for pattern in rules.subscribe if any(covers(pattern, subject) for subject in subjects["SUB"])}
    return (rules.publish - used) | (rules.subscribe - received)


async def test_a_follower_reads_as_other_programs_do(
    guarded: GuardedNats, follower: Nats, publisher: Client, engine: FakeEngine
) -> None:
    # Given a task with a result that is larger than a message
    engine.windows, engine.text = 30, "word " * 10_000
    task = await create(publisher, Kind.TRANSCRIPTION, Priority.HIGH)
    assert await end_of(publisher, task) is State.COMPLETED
    js = follower.jetstream()
    # When its events are read with an ordered consumer, the results with a durable one, the object from its bucket
    progress = await js.subscribe(f"progress.{task}", stream="transcription_progress", ordered_consumer=True)
    assert ProgressEvent.model_validate_json((await progress.next_msg(timeout=10)).data).state is State.QUEUED
    batches = await js.subscribe(f"segments.{task}", stream="transcription_segments", ordered_consumer=True)
    assert SegmentsEvent.model_validate_json((await batches.next_msg(timeout=10)).data).segments
    results = await js.pull_subscribe("results.*", durable="follower", stream="transcription_results")
    (result,) = await results.fetch(1, timeout=10)
    await result.ack_sync(timeout=10)
    parsed_result = TranscriptionResult.model_validate_json(result.data)
    assert parsed_result.object is not None
    whole = await (await js.object_store(parsed_result.object.bucket)).get(parsed_result.object.name)
    assert len(json.loads(whole.data or b"")["text"]) > 1_000_000
    # And the task is erased, which it reads as results
    await publisher.delete(task)
    events = await js.pull_subscribe("erased.*", durable="follower", stream="transcription_erased")
    (erased,) = await events.fetch(1, timeout=10)
    await erased.ack_sync(timeout=10)
    assert Erased.model_validate_json(erased.data).task_id == task
    # And requests are sent to the service
    task = await create(publisher, Kind.TRANSCRIPTION, Priority.HIGH)
    assert await end_of(publisher, task) is State.COMPLETED
    reply = await follower.request("tasks.status", json.dumps({"task_id": task}).encode(), timeout=10)
    assert json.loads(reply.data)["state"] == "completed"
    # Then nothing of that was refused
    assert guarded.refused() == []


async def test_a_follower_changes_nothing(guarded: GuardedNats, follower: Nats, worker: Worker) -> None:
    # Given the service's own consumers, which a reader of the same streams could use
    js = follower.jetstream(timeout=0.5)
    consumer = "transcription_worker_projection_progress"
    before = await worker_consumer(worker, consumer)
    # When a follower deletes one, pulls from it, recreates it under its name, or publishes
    theft = ConsumerConfig(name=consumer, filter_subject="progress.*", ack_policy=AckPolicy.NONE)
    unnamed = {"stream_name": "transcription_progress", "config": {"name": consumer, "ack_policy": "none"}}
    tried = (
        js.delete_consumer("transcription_progress", consumer),
        js.add_consumer("transcription_progress", theft),
        follower.request(f"$JS.API.CONSUMER.MSG.NEXT.transcription_progress.{consumer}", b"1", timeout=0.5),
        js.publish("progress.t1", b"{}", timeout=0.5),
        js.publish("append.progress.t1", b"{}", timeout=0.5),
        js.publish("append.erased.t1", b"{}", timeout=0.5),
        js.publish("live.audio.t1", b"", timeout=0.5),
        js.publish("partials.t1", b"{}", timeout=0.5),
        js.publish("tasks.transcription.high", b"{}", timeout=0.5),
        follower.request("tasks.delete", b'{"task_id": "t1"}', timeout=0.5),
    )
    outcomes = await asyncio.gather(*tried, return_exceptions=True)
    # Then each is refused
    assert all(isinstance(outcome, NatsTimeoutError | TimeoutError) for outcome in outcomes)
    assert len(guarded.refused()) == len(outcomes) == 10
    # And by the request that names no consumer in its subject nothing is gained either
    await follower.request("$JS.API.CONSUMER.CREATE.transcription_progress", json.dumps(unnamed).encode(), timeout=5)
    assert await worker_consumer(worker, consumer) == before


@pytest.mark.parametrize(
    "reply_subject",
    ["$JS.API.STREAM.DELETE.transcription_tasks", "$JS.API.STREAM.PURGE.OBJ_audio", "tasks.transcription.high"],
)
async def test_a_follower_has_the_service_do_nothing_that_it_may_not_do_itself(
    follower: Nats, publisher: Client, operator: Client, engine: FakeEngine, worker: Worker, reply_subject: str
) -> None:
    # Given a silent recording, whose text is empty
    engine.text = ""
    task = await create(publisher, Kind.TRANSCRIPTION, Priority.HIGH)
    assert await end_of(publisher, task) is State.COMPLETED
    js = (await worker.broker.connect()).jetstream()

    async def there() -> tuple[int, int]:
        queue, audio = [(await js.stream_info(stream)).state for stream in ("transcription_tasks", "OBJ_audio")]
        return queue.last_seq, audio.messages

    before = await there()
    # When a follower names a reply subject that it may not publish to
    request = json.dumps({"task_id": task, "format": "txt"}).encode()
    for subject in ("tasks.result", "tasks.status"):
        await follower.publish(subject, request, reply=reply_subject)
    # Then nothing arrives there: later requests get their replies
    reply = await follower.request("tasks.result", request, timeout=5)
    assert reply.data.strip() == b""
    await operator.queue()
    assert await there() == before


@asynccontextmanager
async def running_task(publisher: Client, engine: FakeEngine) -> AsyncIterator[str]:
    """A task that runs until the body ends, and is completed then."""
    engine.may_go_on.clear()
    task = await create(publisher, Kind.TRANSCRIPTION, Priority.HIGH)
    events = publisher.follow(task)
    await anext(event async for event in events if isinstance(event, ProgressEvent) and event.state is State.RUNNING)
    yield task
    engine.may_go_on.set()
    assert [event async for event in events if isinstance(event, ProgressEvent)][-1].state is State.COMPLETED


@pytest.mark.parametrize("ack_policy", [AckPolicy.NONE, AckPolicy.EXPLICIT])
@pytest.mark.parametrize("request_subject", ["tasks.delete", "tasks.cancel"])
async def test_what_a_consumer_delivers_is_no_request(
    follower: Nats, publisher: Client, engine: FakeEngine, request_subject: str, ack_policy: AckPolicy
) -> None:
    # Given a task that runs, and its events, which name it as a request does
    async with running_task(publisher, engine) as task:
        # When a follower has a consumer deliver them to the subjects of requests
        js = follower.jetstream()
        copies = ConsumerConfig(
            filter_subject=f"progress.{task}",
            deliver_subject=request_subject,
            deliver_group=subjects.QUEUE_GROUP,
            ack_policy=ack_policy,
        )
        consumer = await js.add_consumer("transcription_progress", copies)

        async def delivered() -> bool:
            info = await js.consumer_info("transcription_progress", consumer.name)
            return info.delivered is not None and info.delivered.consumer_seq > 0

        await eventually(delivered)
        # And the service has replied to later requests
        other = await create(publisher, Kind.TRANSCRIPTION, Priority.LOW)
        await publisher.cancel(other)
        await publisher.delete(other)
    # Then the task ends as it would have


async def worker_consumer(worker: Worker, name: str) -> dict[str, object]:
    nats_client = await worker.broker.connect()
    info = await nats_client.jetstream().consumer_info("transcription_progress", name)
    config: dict[str, object] = info.config.as_dict()
    return config


@pytest.mark.parametrize("stream", ["progress", "segments", "results"])
async def test_a_copy_from_another_log_is_nothing(
    worker: Worker, publisher: Client, follower: Nats, engine: FakeEngine, stream: str
) -> None:
    # Given a task that is done, and one that runs
    done = await create(publisher, Kind.TRANSCRIPTION, Priority.HIGH)
    assert await end_of(publisher, done) is State.COMPLETED
    engine.text = "three"
    async with running_task(publisher, engine) as task:
        # When something of the first is appended to the other's log, as a copy that the stream does not know by its id
        reader, js = follower.jetstream(), (await worker.broker.connect()).jetstream()
        of_another = await reader.get_last_msg(f"transcription_{stream}", f"{stream}.{done}", direct=True)
        headers = {name: value for name, value in (of_another.headers or {}).items() if not name.startswith("Nats-")}
        await js.publish(f"append.{stream}.{task}", of_another.data or b"", headers=headers)
        # Then the other is what it was, and ends as it would have
        assert (await publisher.get_task_progress(task)).state is State.RUNNING
    result = await publisher.get_task_result(task)
    assert isinstance(result, TranscriptionResult)
    assert (result.task_id, result.text.split()) == (task, ["three"] * engine.windows)
