"""A backup while the service runs, by the requests that the commands of docs/operations.md send."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from natscribe.client import Client
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.quotas import StoredQuota
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.schemas.voices import Consent
from natscribe.schemas.wire import Priority

from app.command.embedded import free_port
from app.main import Worker
from app.runtime.errors import PermanentError
from app.settings import Settings
from app.storage.jetstream.streams import all_stream_configs
from tests.access.documented_users import configuration
from tests.access.servers import DEPLOY, RECORDING, GuardedNats, GuardedValkey, connected, login, service_settings
from tests.fakes.engine import FakeEngine
from tests.servers import in_memory, running_server
from tests.waiting import eventually
from tests.workers import working

OPERATIONS = (DEPLOY.parent / "docs/operations.md").read_text(encoding="utf-8")
BACKUP = re.search(
    r"^for stream in ([^;]+); do\n  nats --inbox-prefix _INBOX_backup stream backup --no-consumers \"\$stream\" ",
    OPERATIONS,
    re.MULTILINE,
)
STREAMS = BACKUP[1].replace("\\\n", " ").split() if BACKUP else []
BROKEN = PermanentError(ErrorCode.ENGINE_FAILED, "The engine cannot do this one.")
CHUNK_BYTES = 64 * 1024
SHORT_TASKS = 40
Copies = dict[str, tuple[bytes, list[bytes]]]  # of each stream: its configuration and state, and its data


async def request(client: Nats, subject: str, body: dict[str, object]) -> dict[str, object]:
    reply: dict[str, object] = json.loads((await client.request(subject, json.dumps(body).encode(), timeout=10)).data)
    assert "error" not in reply, reply
    return reply


async def back_up(client: Nats, stream: str) -> tuple[bytes, list[bytes]]:
    """Send the requests of `nats stream backup --no-consumers`."""
    await request(client, f"$JS.API.STREAM.INFO.{stream}", {})
    chunks: list[bytes] = []
    is_complete = asyncio.Event()

    async def receive(chunk: Msg) -> None:
        if not chunk.data:
            assert (chunk.headers or {}).get("Status", "204") == "204", chunk.headers
            is_complete.set()
        elif chunk.reply:
            await chunk.respond(b"")
        chunks.append(chunk.data)

    inbox = await client.subscribe(client.new_inbox(), cb=receive)
    body: dict[str, object] = {"deliver_subject": inbox.subject, "no_consumers": True, "chunk_size": CHUNK_BYTES}
    reply = await request(client, f"$JS.API.STREAM.SNAPSHOT.{stream}", body)
    async with asyncio.timeout(60):
        await is_complete.wait()
    await inbox.unsubscribe()
    return json.dumps({"config": reply["config"], "state": reply["state"]}).encode(), chunks[:-1]


async def restore(client: Nats, stream: str, description: bytes, chunks: list[bytes]) -> None:
    """Send the requests of `nats stream restore`."""
    target = str(
        (await request(client, f"$JS.API.STREAM.RESTORE.{stream}", json.loads(description)))["deliver_subject"]
    )
    for chunk in chunks:
        assert not (await client.request(target, chunk, timeout=10)).data
    restored = json.loads((await client.request(target, b"", timeout=60)).data)
    assert "error" not in restored, restored


@asynccontextmanager
async def host(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[GuardedNats, Settings]]:
    """A host with servers of its own, and with the user for backups."""
    with in_memory() as folder:
        deploy = configuration(folder / "deploy", monkeypatch)
        valkey = GuardedValkey(folder / "valkey", free_port())
        async with running_server(GuardedNats(folder / "nats", deploy=deploy)) as server, running_server(valkey):
            brief = {"cache_ttl": 0, "task_grace": 0.1, "task_ack_wait": 1, "task_heartbeat": 0.25}
            yield server, service_settings(server.url, valkey, **brief)


@dataclass
class Stored:
    """What was acknowledged before the backup."""

    done: str = ""
    failed: str = ""
    half_done: str = ""
    scheduled: str = ""
    short: list[str] = field(default_factory=list)
    voice: str = ""


async def end_of(client: Client, task: str) -> State:
    return [event.state async for event in client.follow(task) if isinstance(event, ProgressEvent)][-1]


async def store(publisher: Client, operator: Client, engine: FakeEngine) -> Stored:
    """Store something of each kind; the engine, that of the only worker, hangs in the middle of the last task."""
    stored = Stored(done=await publisher.create_transcription_task(RECORDING, diarize=True, identify=True))
    assert await end_of(publisher, stored.done) is State.COMPLETED
    consent = Consent(by="Anna", at=datetime.now(UTC))
    stored.voice = (await publisher.enroll_voice(stored.done, "SPEAKER_00", name="Anna", consent=consent)).voice
    engine.fail_with = [BROKEN]
    stored.failed = await publisher.create_transcription_task(RECORDING)
    assert await end_of(publisher, stored.failed) is State.FAILED
    await operator.set_quota("anna", weight=2)
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    stored.scheduled = await publisher.create_transcription_task(RECORDING, not_before=in_an_hour)
    engine.hangs_after = [2]
    stored.half_done = await publisher.create_transcription_task(RECORDING, priority=Priority.HIGH)
    events = publisher.follow(stored.half_done)
    await anext(event async for event in events if not isinstance(event, ProgressEvent))
    stored.short = [await publisher.create_transcription_task(RECORDING) for _ in range(SHORT_TASKS)]
    return stored


async def is_reminded_of(worker: Worker, task: str) -> bool:
    """Whether the service has a reminder to erase a task."""
    return bool([reminder async for reminder in worker.container.reminders.of_task(task)])


async def back_up_all(server: GuardedNats, one_more_ends: Callable[[], Awaitable[None]]) -> Copies:
    """Back up each stream in the documented order; a task ends before each of them."""
    copies: Copies = {}
    async with connected(server, "backup") as client:
        for stream in STREAMS:
            copies[stream] = await back_up(client, stream)
            await one_more_ends()
    return copies


def test_each_stream_is_in_the_backup_but_what_the_service_makes_itself() -> None:
    streams = {str(config.name) for config in all_stream_configs(Settings(_env_file=None))}
    assert {*STREAMS, "transcription_ready", "KV_fleet"} == streams
    assert 'nats --inbox-prefix _INBOX_backup stream restore "$folder"' in OPERATIONS


@pytest.mark.timeout(240)
async def test_a_backup_while_tasks_run_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a service with something of each kind, and two workers: one in the middle of a task, one with short tasks
    engine = FakeEngine(windows=4)
    async with host(monkeypatch) as (server, settings):
        publisher_login, operator_login = login(settings, "publisher"), login(settings, "operator")
        async with (
            Client(publisher_login) as publisher,
            Client(operator_login) as operator,
            working(settings, engine),
        ):
            stored = await store(publisher, operator, engine)
            text = await publisher.get_task_result(stored.done)
            async with working(settings, FakeEngine(windows=1)), connected(server, "publisher") as follower:
                ended = asyncio.Semaphore(0)

                async def note(event: Msg) -> None:
                    if ProgressEvent.model_validate_json(event.data).state.ended:
                        ended.release()

                async def one_more_ends() -> None:
                    await ended.acquire()

                await follower.subscribe("progress.*", cb=note)
                # When the streams are backed up while tasks run and end
                copies = await back_up_all(server, one_more_ends)
        assert server.refused() == []
    # And restored on another host, on which the service then starts
    async with host(monkeypatch) as (server, settings):
        async with connected(server, "backup") as client:
            for stream, (description, chunks) in sorted(copies.items()):
                await restore(client, stream, description, chunks)
        async with (
            working(settings, FakeEngine(windows=4)) as worker,
            Client(login(settings, "publisher")) as publisher,
            Client(login(settings, "operator")) as operator,
        ):
            # Then each task that was acknowledged has its result
            async with asyncio.timeout(120):
                ends = [await end_of(publisher, task) for task in (stored.half_done, *stored.short)]
            assert set(ends) == {State.COMPLETED}
            for task in (stored.half_done, *stored.short):
                result = await publisher.get_task_result(task)
                assert isinstance(result, TranscriptionResult)
            assert await publisher.get_task_result(stored.done) == text
            # And what has ended will be erased, also what ended between the backups of two streams
            for task in (stored.done, stored.half_done, *stored.short):
                await eventually(partial(is_reminded_of, worker, task))
            # And the rest is there, too
            assert (await publisher.get_task_progress(stored.scheduled)).state is State.SCHEDULED
            assert [voice.voice async for voice in publisher.voices()] == [stored.voice]
            assert [(entry.user_id, entry.quota) async for entry in operator.quotas()] == [
                ("anna", StoredQuota(weight=2))
            ]
            assert stored.failed in {letter.task_id async for letter in operator.dead_letters()}
            # And a dead letter can be replayed with its recording
            assert await operator.replay(task_id=stored.failed) == 1
            assert await end_of(publisher, stored.failed) is State.COMPLETED

            async def is_listed() -> bool:
                return len((await publisher.tasks(limit=200)).tasks) >= SHORT_TASKS + 4

            await eventually(is_listed)
        assert server.refused() == []
