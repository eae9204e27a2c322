"""Replies and copies never reach a subject to which the requesting user may not publish."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext

from app.fleet.stream_guard import provisioning
from app.settings import Settings
from tests.access.servers import CLIENTS, GuardedNats, connected, guarded_in_memory
from tests.waiting import eventually, patiently

WITHIN = 5.0  # seconds
STREAMS = tuple(f"transcription_{name}" for name in ("tasks", "progress", "segments", "results", "dead_letters"))
PROJECTION = "transcription_worker_projection_{}"
DIRECT = "$JS.API.DIRECT.GET.transcription_progress"
# Requests that each client may send, and the kind of the reply.
NOTHING = (DIRECT, b'{"last_by_subj": "progress.none"}')  # empty: JetStream deletes and empties streams for less
MESSAGE = (DIRECT, b'{"last_by_subj": "progress.t1"}')  # what the service has written
INFO = ("$JS.API.STREAM.INFO.transcription_progress", b"")  # JSON
STORED = ("tasks.transcription.low", b"{}")  # the acknowledgement of a message: JSON


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded() -> AsyncIterator[GuardedNats]:
    """One server for all tests, which change nothing: the service's streams with at least one message each."""
    async with guarded_in_memory() as server:
        async with connected(server, "service") as connection:
            js = connection.jetstream()
            await provisioning.provision(js, Settings(_env_file=None))
            for subject in ("progress.t1", "segments.t1", "results.t1", "dead_letters.transcription"):
                await js.publish(f"append.{subject}", b'{"task_id": "t1"}')
        yield server


@pytest.fixture
async def service(guarded: GuardedNats) -> AsyncIterator[JetStreamContext]:
    async with connected(guarded, "service") as connection:
        yield connection.jetstream()


@pytest.fixture(params=CLIENTS)
async def client(
    guarded: GuardedNats, service: JetStreamContext, request: pytest.FixtureRequest
) -> AsyncIterator[Nats]:
    async with connected(guarded, request.param) as connection:
        yield connection


async def there(js: JetStreamContext) -> dict[str, object]:
    """All that is in the streams, and the service's consumers."""
    state: dict[str, object] = {}
    for stream in STREAMS:
        info = await js.stream_info(stream, subjects_filter=">")
        state[stream] = (info.created, info.state.subjects or {})
    for log in ("progress", "results"):
        consumer = await js.consumer_info(f"transcription_{log}", PROJECTION.format(log))
        state[PROJECTION.format(log)] = (consumer.created, consumer.config.as_dict())
    return state


async def request(client: Nats, question: tuple[str, bytes], reply_to: str) -> None:
    """Send a request with this reply subject."""
    subject, body = question
    await client.publish(subject, body, reply=reply_to)
    await client.flush()


async def requests_have_taken_effect(js: JetStreamContext, question: tuple[str, bytes]) -> None:
    """Wait until earlier requests have had their effect: the service sends the same, with a reply to a bucket."""

    async def stored() -> int:
        return (await js.stream_info("OBJ_results")).state.last_seq

    before = await stored()

    async def is_stored() -> bool:
        return await stored() > before

    connection: Nats = js._nc  # noqa: SLF001 -- a context says nothing of its connection
    await request(connection, question, "$O.results.M.answer")
    await eventually(is_stored)


async def check_unchanged(client: Nats, js: JetStreamContext, question: tuple[str, bytes], reply_to: str) -> None:
    """Send a request with this reply subject, and check that nothing in the streams has changed."""
    before = await there(js)
    await request(client, question, reply_to)
    await requests_have_taken_effect(js, question)
    assert await there(js) == before


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        (NOTHING, "$JS.API.STREAM.DELETE.transcription_tasks"),
        (NOTHING, "$JS.API.STREAM.PURGE.transcription_results"),
        (NOTHING, "$JS.API.CONSUMER.DELETE.transcription_progress.transcription_worker_projection_progress"),
        (MESSAGE, "append.progress.t2"),
        (MESSAGE, "append.results.t2"),
        (INFO, "append.segments.t2"),
        (NOTHING, "append.dead_letters.transcription"),
    ],
)
async def test_a_reply_changes_nothing(
    client: Nats, service: JetStreamContext, question: tuple[str, bytes], subject: str
) -> None:
    # Given a client, when it names a reply subject to which it may not publish, then nothing is changed
    await check_unchanged(client, service, question, subject)


@pytest.mark.parametrize("client", ["follower", "operator"], indirect=True)
@pytest.mark.parametrize("question", [NOTHING, MESSAGE, INFO], ids=["nothing", "message", "info"])
async def test_a_reply_gets_into_no_queue(client: Nats, service: JetStreamContext, question: tuple[str, bytes]) -> None:
    # Given a user who may not publish tasks, when a task queue is its reply subject, then the queue stays empty
    await check_unchanged(client, service, question, "tasks.transcription.high")


@pytest.mark.parametrize(
    "subject", ["append.progress.t2", "append.results.t2", "append.no_results.t2", "append.dead_letters.transcription"]
)
@pytest.mark.parametrize("client", ["publisher"], indirect=True)
async def test_an_acknowledgement_changes_nothing(client: Nats, service: JetStreamContext, subject: str) -> None:
    # Given streams with something in them, and a task
    await client.jetstream().publish(*STORED)
    before = await there(service)
    # When a publisher wants it acknowledged where it may not publish
    await request(client, STORED, subject)
    await requests_have_taken_effect(service, STORED)
    # Then nothing has changed but the queue
    assert await there(service) | {"transcription_tasks": None} == before | {"transcription_tasks": None}


@pytest.mark.parametrize("log", ["progress", "results"])
async def test_no_request_overwrites_the_services_consumer(client: Nats, service: JetStreamContext, log: str) -> None:
    # Given the consumer by which the service writes to Redis
    before = await there(service)
    # When a client makes one whose name is in the body alone, by the older API and by the newer
    for name in ("", ".other"):
        subject = f"$JS.API.CONSUMER.CREATE.transcription_{log}{name}"
        reply = json.loads((await client.request(subject, _theft(log), timeout=patiently(WITHIN))).data)
        # Then it gets a consumer of its own
        assert reply["name"] != PROJECTION.format(log)
    assert await there(service) == before


@pytest.mark.parametrize(
    ("subject", "order"),
    [
        ("STREAM.PURGE.transcription_results", b"{}"),
        ("CONSUMER.CREATE.transcription_progress", b""),
        (f"CONSUMER.CREATE.transcription_progress.{PROJECTION.format('progress')}.progress.nothing", b""),
    ],
)
@pytest.mark.parametrize("client", ["publisher"], indirect=True)
async def test_a_recording_is_no_order(client: Nats, service: JetStreamContext, subject: str, order: bytes) -> None:
    # Given a recording whose content is a JetStream request, and the name under which JetStream stores it
    before = await there(service)
    await client.jetstream().publish("$O.audio.C.order", order or _theft("progress"))
    # When its publisher requests it with a reply subject of the JetStream API
    await request(client, ("$JS.API.DIRECT.GET.OBJ_audio.$O.audio.C.order", b""), f"$JS.API.{subject}")
    await requests_have_taken_effect(service, NOTHING)
    # Then nothing has changed
    assert await there(service) == before


def _theft(log: str) -> bytes:
    """A consumer of the service, changed so that it receives nothing."""
    config = {"name": PROJECTION.format(log), "filter_subject": f"{log}.nothing", "ack_policy": "explicit"}
    config["deliver_policy"] = "last_per_subject"
    return json.dumps({"stream_name": f"transcription_{log}", "config": config}).encode()


@pytest.mark.parametrize("suffix", ["STREAM.PURGE.OBJ_audio", "CONSUMER.DELETE.transcription_progress.mine"])
async def test_nobody_may_use_internal_subjects_of_the_account_for_replies(
    guarded: GuardedNats, client: Nats, service: JetStreamContext, suffix: str
) -> None:
    # Given that to publish there may be a client's right
    before = len(guarded.refused())
    # When it names that subject as reply subject
    await request(client, NOTHING, f"$JS.ACK.natscribe.{suffix}")
    # Then the server refuses the request itself
    await eventually(lambda: any("Reply" in line for line in guarded.refused()[before:]))


@pytest.mark.parametrize(
    "place",
    [
        "$JS.API.STREAM.DELETE.transcription_tasks",
        "$JS.API.STREAM.PURGE.transcription_results",
        "$JS.API.CONSUMER.DELETE.transcription_progress.transcription_worker_projection_progress",
        "tasks.transcription.high",
        "append.dead_letters.transcription",
        "append.results.t2",
        "results.t2",
    ],
)
async def test_what_a_consumer_delivers_is_no_order_and_no_task(
    client: Nats, service: JetStreamContext, place: str
) -> None:
    # Given streams with messages, and a subscriber of a log
    before = await there(service)
    public = await client.subscribe("results.t2")
    # When a client has a consumer deliver there, and after it one to itself
    inbox = await client.subscribe(client.new_inbox())
    for subject in (place, inbox.subject):
        config = {"deliver_subject": subject, "ack_policy": "none", "headers_only": True}
        body = json.dumps({"stream_name": "transcription_progress", "config": config}).encode()
        await client.request("$JS.API.CONSUMER.CREATE.transcription_progress", body, timeout=patiently(WITHIN))
    await inbox.next_msg(timeout=patiently(WITHIN))
    # Then nothing is done, and at most a copy is stored under its own subject: in no queue, dead letter or log
    assert _without_copies(await there(service)) == _without_copies(before)
    # And a copy on a public subject differs from what the stream has published there
    if place == "results.t2":
        assert "Nats-Sequence" not in ((await public.next_msg(timeout=patiently(WITHIN))).headers or {})


def _without_copies(streams: dict[str, Any]) -> dict[str, object]:
    remaining = dict(streams)
    for stream in ("transcription_tasks", "transcription_dead_letters", "transcription_results"):
        created, subjects = remaining[stream]
        remaining[stream] = (created, {name: count for name, count in subjects.items() if name != "progress.t1"})
    return remaining
