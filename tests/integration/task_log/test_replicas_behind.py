"""A server that is behind the leader replies to Direct Gets with old state, which decides nothing.

The mirrors here stand for such servers: JetStream sends them about half of the Direct Gets for their stream, and
they lack all but one message of it.
"""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import StreamConfig, StreamSource
from natscribe.jetstream.stream_pages import page
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind, Priority, TaskType

from app.main import Worker
from app.runtime.errors import PermanentError
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, queue_is_empty
from tests.waiting import eventually

TASKS = 40
# For each stream: the subject whose message the mirror has, and where that message is published.
KNOWN = {
    "transcription_progress": ("progress.known", "append.progress.known"),
    "transcription_segments": ("segments.known", "append.segments.known"),
    "transcription_results": ("results.known", "append.results.known"),
    "transcription_dead_letters": ("dead_letters.diarization", "append.dead_letters.diarization"),
}

pytestmark = pytest.mark.foreign


@pytest.fixture
async def behind(worker: Worker, publisher: Publisher, js: JetStreamContext) -> None:
    """Servers that reply, and have stored almost nothing."""
    del worker  # it has made the streams
    for stream, (subject, append_to) in KNOWN.items():
        await mirror(js, stream, subject)
        await js.publish(append_to, b"junk")
    await mirror(js, "transcription_tasks", subjects.tasks(TaskType.DIARIZATION, Priority.LOW))
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    await publisher.publish("known", kind=Kind.DIARIZATION, priority=Priority.LOW, not_before=tomorrow)
    for stream in (*KNOWN, "transcription_tasks"):
        await eventually(partial(replies, js, stream))
    # A work queue loses what a mirror has copied, about a second later: so this task must not start.
    await eventually(partial(queue_is_empty, js))


async def mirror(js: JetStreamContext, stream: str, subject: str) -> None:
    source = StreamSource(name=stream, filter_subject=subject)
    await js.add_stream(StreamConfig(name=f"behind_{stream}", mirror=source, mirror_direct=True, allow_direct=True))


async def replies(js: JetStreamContext, stream: str) -> bool:
    """Whether the mirror has its message: from then on it replies."""
    return (await js.stream_info(f"behind_{stream}")).state.last_seq > 0


async def test_no_task_is_lost_or_started_twice(behind: None, publisher: Publisher, js: JetStreamContext) -> None:
    # When tasks are done
    ids = [f"t{number}" for number in range(TASKS)]
    for task_id in ids:
        await publisher.publish(task_id)
    events = {task_id: await publisher.until(task_id, State.COMPLETED) for task_id in ids}
    # Then each was done once, in its first attempt, and an immediate request gets its result
    assert {event.attempt for of_task in events.values() for event in of_task if event.state is State.RUNNING} == {1}
    for task_id in ids:
        assert (await publisher.request("tasks.result", task_id=task_id)).get("task_id") == task_id
    await eventually(partial(queue_is_empty, js))
    counts = (await js.stream_info("transcription_results", subjects_filter="results.*")).state.subjects or {}
    assert {subject: count for subject, count in counts.items() if subject != "results.known"} == {
        subjects.results(task_id): 1 for task_id in ids
    }


async def test_each_waiting_task_is_known_soon(behind: None, publisher: Publisher, engine: FakeEngine) -> None:
    # Given a busy worker
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "running")
    # When tasks are published behind its task
    ids = [f"t{number}" for number in range(TASKS)]
    for task_id in ids:
        await publisher.publish(task_id)
    # Then each is registered while it waits, and can be cancelled
    for task_id in ids:
        await publisher.until(task_id, State.QUEUED)
        assert (await publisher.request("tasks.cancel", task_id=task_id))["state"] == State.CANCELLED
    engine.may_go_on.set()
    assert (await publisher.until("running", State.COMPLETED))[-1].attempt == 1


async def test_a_task_is_known_as_soon_as_it_is_acknowledged(
    behind: None, publisher: Publisher, engine: FakeEngine
) -> None:
    # Given a busy worker
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "running")
    # When tasks are cancelled that were acknowledged just before
    for task_id in [f"t{number}" for number in range(TASKS)]:
        await publisher.publish(task_id)
        # Then each is known
        assert (await publisher.request("tasks.cancel", task_id=task_id)).get("state") == State.CANCELLED
    engine.may_go_on.set()
    await publisher.until("running", State.COMPLETED)


async def test_a_deleted_task_leaves_no_dead_letter(
    behind: None, publisher: Publisher, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given tasks that have failed
    ids = [f"t{number}" for number in range(10)]
    engine.fail_with = [PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")] * len(ids)
    for task_id in ids:
        await publisher.reaching(State.FAILED, task_id)
    await eventually(partial(queue_is_empty, js))
    # When they are deleted
    for task_id in ids:
        assert (await publisher.repeat_request("tasks.delete", task_id)).get("error") is None
    # Then their dead letters are, too; the mirror's message is left
    assert (await js.stream_info("transcription_dead_letters")).state.messages == 1


async def test_a_frozen_server_delays_a_read_and_fails_it_not(nc: Client, constants: Constants) -> None:
    # Given a server that does not reply, because it is frozen, and another that has no message
    constants(DIRECT_GET_TIMEOUT_S=0.2)
    received = list[str]()

    async def late_reply(request: Msg) -> None:
        received.append(request.reply)
        if len(received) > 1:
            await nc.publish(request.reply, headers={"Status": "404"})

    await nc.subscribe("$JS.API.DIRECT.GET.elsewhere", cb=late_reply)
    # When messages are read, then the second request gets a reply
    assert await page(nc, "elsewhere", "any", start=1, count=5) == []
    assert len(received) == 2
