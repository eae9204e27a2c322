"""Messages that are tasks are done, sooner or later."""

from natscribe.schemas.progress import State
from structlog.testing import capture_logs

from app.main import Worker
from tests.integration.conftest import Publisher
from tests.waiting import eventually


async def test_a_valid_task_outlives_a_worker_that_cannot_take_it(worker: Worker, publisher: Publisher) -> None:
    # Given a worker that lacks a part
    transcriber = worker.app.context.get("transcriber")
    worker.app.context.reset_global("transcriber")
    # When a valid task is delivered to it
    with capture_logs() as lines:
        await publisher.publish("t1")
        await eventually(lambda: "task_start_failed" in {line["event"] for line in lines})
    # Then it becomes no dead letter, and runs when the recording is stored
    worker.app.context.set_global("transcriber", transcriber)
    await publisher.until("t1", State.COMPLETED)
    assert (await publisher.js.stream_info("transcription_dead_letters")).state.messages == 0
