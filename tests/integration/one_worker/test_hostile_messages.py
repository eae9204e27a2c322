"""Any bytes on any subject: never a crash, never a stuck queue, never silence."""

import json

import pytest
from nats.aio.client import Client
from nats.errors import MaxPayloadError
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus

from tests.integration.conftest import Publisher, queue_is_empty
from tests.integration.hostile import HOSTILE_HEADERS, MESSAGES, QUEUES, REQUESTS, filled, invented, publish_bytes
from tests.servers import Servers
from tests.waiting import DEADLINE, eventually

hostile = pytest.mark.parametrize("head", HOSTILE_HEADERS.values(), ids=HOSTILE_HEADERS)


@pytest.mark.parametrize("subject", REQUESTS)
async def test_any_request_gets_a_reply(nc: Client, subject: str) -> None:
    # Given a hostile request
    for _, body, extra in invented([subject], max(MESSAGES // 10, 50)):
        # When it is sent
        try:
            reply = await nc.request(subject, body, timeout=DEADLINE, headers=extra or None)
        except MaxPayloadError:
            continue
        # Then there is a reply, it is an object, and the fault is not the service's
        body_of_reply = json.loads(reply.data)
        assert isinstance(body_of_reply, dict), (body, extra)
        assert body_of_reply.get("error", {}).get("code") != "internal", (body, extra)


@pytest.fixture(params=["one", "many", "known"])
def sixty_kilobytes(request: pytest.FixtureRequest) -> dict[str, str]:
    """Headers, as long and as many as a server lets through."""
    headers: dict[str, dict[str, str]] = {
        "one": {"X": "x" * 60_000},
        "many": {f"X-{number}": "x" * 90 for number in range(600)},
        "known": dict.fromkeys(
            ["traceparent", "correlation_id", "Natscribe-Replay-Of", "Natscribe-Task"], "1" * 15_000
        ),
    }
    return headers[request.param]


@pytest.mark.parametrize("full", [False, True])
async def test_the_largest_tasks_end(
    publisher: Publisher, nc: Client, task_id: str, sixty_kilobytes: dict[str, str], full: bool
) -> None:
    # Given messages with very long headers, as long as they may be altogether: a task, none, and one that is wrong
    good, wrong = f"{task_id}-good", f"{task_id}-wrong"
    bodies = (
        json.dumps({"task_id": good, "audio_file_id": "meeting.flac", "user_id": 1}).encode(),
        b"\x00\xff",
        json.dumps({"task_id": wrong, "audio_file_id": "meeting.flac", "user_id": []}).encode(),
    )
    letters = (await publisher.js.stream_info("transcription_dead_letters")).state.messages
    # When they are published
    for body in bodies:
        await publisher.js.publish(
            QUEUES[0], filled(body, nc, sixty_kilobytes) if full else body, headers=dict(sixty_kilobytes)
        )
    # Then each ends as it would without them, and the queue runs empty
    await publisher.until(good, State.COMPLETED)
    await publisher.until(wrong, State.FAILED)
    await eventually(lambda: queue_is_empty(publisher.js))
    assert (await publisher.js.stream_info("transcription_dead_letters")).state.messages == letters + 1
    # And the worker continues
    await publisher.reaching(State.COMPLETED, f"{task_id}-next")


@pytest.mark.parametrize("subject", REQUESTS)
async def test_the_largest_requests_get_a_reply(nc: Client, sixty_kilobytes: dict[str, str], subject: str) -> None:
    for body in (b'{"task_id": "nobody"}', b"{", b"\xff"):
        for sent in (body, filled(body, nc, sixty_kilobytes)):
            reply = await nc.request(subject, sent, timeout=DEADLINE, headers=dict(sixty_kilobytes))
            body_of_reply = json.loads(reply.data)
            assert body_of_reply.get("deleted") == 0 or body_of_reply["error"]["code"] in {
                "not_found",
                "invalid_request",
            }


@pytest.mark.foreign
@hostile
async def test_a_task_with_unreadable_headers_ends_like_any_other(
    publisher: Publisher, servers: Servers, task_id: str, head: bytes
) -> None:
    # Given a task whose headers no library would write
    task = json.dumps({"task_id": f"{task_id}-hostile", "audio_file_id": "meeting.flac", "user_id": 7})
    await publish_bytes(servers.nats_url, "tasks.transcription.high", head, task.encode())
    # When another one is published behind it
    await publisher.publish(task_id)
    # Then both are done, and the queue is empty
    await publisher.until(task_id, State.COMPLETED)
    await publisher.until(f"{task_id}-hostile", State.COMPLETED)
    await eventually(lambda: queue_is_empty(publisher.js))


@pytest.mark.foreign
@hostile
async def test_a_request_with_unreadable_headers_stops_no_worker(
    publisher: Publisher, servers: Servers, task_id: str, head: bytes
) -> None:
    # Given a worker that has done a task
    await publisher.reaching(State.COMPLETED, task_id)
    # When it receives a request with headers that no library would write
    await publish_bytes(servers.nats_url, "tasks.status", head, json.dumps({"task_id": task_id}).encode())
    # Then it replies to the next request
    assert TaskStatus.model_validate(await publisher.request("tasks.status", task_id=task_id)).state is State.COMPLETED


@pytest.mark.foreign
async def test_a_request_whose_reply_subject_is_not_utf_8_stops_no_worker(
    publisher: Publisher, servers: Servers
) -> None:
    # When a worker gets a request whose reply subject is no UTF-8
    await publish_bytes(servers.nats_url, b"tasks.status _INBOX.\xff\xfe", b"NATS/1.0\r\n\r\n", b"{}")
    # Then it replies to the next one
    assert "error" in await publisher.request("tasks.status", task_id="unknown")
