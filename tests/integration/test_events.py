"""Every message of the service is a CloudEvent in binary mode, and continues the publisher's trace."""

import json

import pytest
from nats.js import JetStreamContext

from app.main import Service
from handlers.errors import PermanentError
from schemas.errors import ErrorCode
from schemas.progress import State
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.waiting import eventually

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TASK = json.dumps({"task_id": "t1", "audio_file_id": "meeting.flac", "user_id": 1}).encode()


async def headers_of(js: JetStreamContext, stream: str) -> list[dict[str, str]]:
    count = (await js.stream_info(stream)).state.messages
    return [(await js.get_msg(stream, seq)).headers or {} for seq in range(1, count + 1)]


@pytest.mark.parametrize("fails", [False, True])
async def test_every_event_is_a_cloud_event(
    js: JetStreamContext, publisher: Publisher, worker: Service, engine: FakeEngine, fails: bool
) -> None:
    # Given a task that ends well, or not
    engine.fail_with = [PermanentError(ErrorCode.AUDIO_UNREADABLE, "No sound.")] if fails else []
    # When it is published with a trace
    await js.publish("tasks.transcription.high", TASK, headers={"Nats-Msg-Id": "t1", "traceparent": TRACE})
    await publisher.until("t1", State.FAILED if fails else State.COMPLETED)
    kinds = ["progress", "dead_letters"] if fails else ["progress", "segments", "results"]
    for kind in kinds:
        # Then each message that follows from it says what it is, and of which trace
        found = await eventually(lambda kind=kind: headers_of(js, f"transcription_{kind}"))
        for headers in found:
            assert headers["ce-specversion"] == "1.0"
            assert headers["ce-id"] == headers["Nats-Msg-Id"]
            assert headers["ce-type"] == f"natscribe.{kind}.v1"
            assert headers["ce-subject"] == "t1"
            assert headers["ce-source"].startswith("natscribe/")
            assert headers["ce-time"].endswith("+00:00")
            assert headers["content-type"] == "application/json"
            assert headers["traceparent"] == TRACE
        # And each id is used once
        assert len({headers["ce-id"] for headers in found}) == len(found)
