"""Any bytes on any subject: never a crash, never a stuck queue, never silence."""

import json

import pytest
from nats.aio.client import Client
from nats.errors import MaxPayloadError
from natscribe.schemas.progress import State

from tests.integration.conftest import Publisher, queue_is_empty
from tests.integration.hostile import MESSAGES, QUEUES, REQUESTS, filled, invented
from tests.waiting import DEADLINE, eventually


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
