"""A task's way from message to result, with real servers."""

from nats.js import JetStreamContext
from natscribe.schemas.progress import State

from app.main import Worker
from tests.integration.conftest import Publisher, parsed, queue_is_empty
from tests.waiting import eventually


async def test_a_published_task_becomes_a_result(publisher: Publisher, worker: Worker, js: JetStreamContext) -> None:
    # Given a worker
    # When another service publishes a task
    await publisher.publish("t1")
    # Then its log has all events, without gaps
    events = await publisher.until("t1", State.COMPLETED)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[0].state is State.QUEUED
    assert events[1].state is State.RUNNING
    assert events[-1].progress == 100
    assert {event.worker for event in events[1:]} == {worker.container.worker_name}
    # And the result is on its subject, made of the segments
    result = parsed(await js.get_last_msg("transcription_results", "results.t1"))
    assert result["text"] == "one two one two one two"
    assert result["segments"][0]["words"] is None
    assert (result["task_id"], result["audio_file_id"], result["user_id"]) == ("t1", "meeting.flac", 7)
    # And nothing is left in the queue
    await eventually(lambda: queue_is_empty(js))
