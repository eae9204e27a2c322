"""Every message of the service is a CloudEvent in binary mode, and continues the publisher's trace."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State

from app.main import Worker
from app.runtime.errors import PermanentError, TransientError
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, queue_is_empty
from tests.waiting import eventually

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
STREAMS = ("progress", "segments", "results", "dead_letters")


async def publish(js: JetStreamContext, task_id: str, **fields: object) -> None:
    task = {"task_id": task_id, "audio_file_id": "meeting.flac", "user_id": 1} | fields
    await js.publish("tasks.transcription.high", json.dumps(task).encode(), headers={"Nats-Msg-Id": task_id} | TRACE)


async def messages(js: JetStreamContext, what: str) -> list[RawStreamMsg]:
    state = (await js.stream_info(f"transcription_{what}")).state
    return [await js.get_msg(f"transcription_{what}", seq) for seq in range(1, state.last_seq + 1)]


def cloud_event(message: RawStreamMsg) -> BaseCloudEvent:
    """Read it as the SDK does, by its `ce-` headers alone: in NATS' binding the content type is one of them."""
    headers = {name: value for name, value in (message.headers or {}).items() if name.startswith("ce-")}
    return from_binary_event(HTTPMessage(headers, message.data or b""))


async def test_every_event_is_a_cloud_event_of_the_publishers_trace(
    js: JetStreamContext, publisher: Publisher, worker: Worker, engine: FakeEngine
) -> None:
    # Given tasks that end well at the second attempt, badly, cancelled, and as no task at all
    engine.fail_with = [
        TransientError(ErrorCode.ENGINE_FAILED, "Once."),
        None,
        PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one."),
    ]
    # When they are published with a trace
    await publish(js, "retried")
    await publisher.until("retried", State.COMPLETED)
    await publish(js, "failing")
    await publisher.until("failing", State.FAILED)
    engine.may_go_on.clear()
    await publish(js, "cancelled")
    await publisher.until("cancelled", State.RUNNING)
    await publisher.request("tasks.cancel", task_id="cancelled")
    engine.may_go_on.set()
    await publish(js, "invalid", misspelt=True)
    await publisher.until("invalid", State.FAILED)
    await eventually(lambda: queue_is_empty(js))
    assert len(await messages(js, "dead_letters")) == 1
    # Then each message that follows from them is a CloudEvent that says what it is, and about which task
    subjects: Counter[str] = Counter()
    for what in STREAMS:
        stored_messages = await messages(js, what)
        for message in stored_messages:
            event = cloud_event(message)
            assert event.get_specversion() == "1.0"
            assert event.get_type() == f"natscribe.{what}.v1"
            assert event.get_source().startswith("natscribe/")
            assert event.get_datacontenttype() == "application/json"
            time = event.get_time()
            assert time is not None
            assert timedelta() <= datetime.now(UTC) - time < timedelta(minutes=2)
            data = event.get_data()
            assert isinstance(data, dict)
            assert event.get_subject() == data["task_id"]
            subjects[what] += 1
            headers = message.headers or {}
            assert headers["Nats-Msg-Id"] == event.get_id()
            assert headers["content-type"] == "application/json"
            # And belongs to the publisher's trace
            assert headers["traceparent"].split("-")[1] == TRACE_ID
        # And each id is used once
        assert len({cloud_event(message).get_id() for message in stored_messages}) == len(stored_messages)
    assert set(subjects) == set(STREAMS)
