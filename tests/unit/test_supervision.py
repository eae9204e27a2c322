"""Work beside the tasks continues, whatever errors it raises."""

import asyncio

import pytest
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.schemas.errors import ErrorCode
from structlog.testing import capture_logs

from app.runtime.cancellation import cancel_all
from app.runtime.errors import TransientError
from app.runtime.supervision import run_forever

AWAY = TransientError(ErrorCode.INTERNAL, "Redis is away: it is tried again.")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            NatsTimeoutError(),
            {"event": "work_interrupted", "log_level": "warning", "error": "NATS did not answer in time"},
        ),
        (NatsError(), {"event": "work_interrupted", "log_level": "warning", "error": "Error"}),
        (AWAY, {"event": "work_interrupted", "log_level": "warning", "error": "Redis is away: it is tried again."}),
        (ValueError("a fault"), {"event": "work_failed", "log_level": "error", "exc_info": True}),
    ],
)
async def test_work_that_fails_is_logged_and_done_again(error: Exception, line: dict[str, object]) -> None:
    # Given work that fails once
    errors, done = [error], asyncio.Event()

    async def work() -> None:
        if errors:
            raise errors.pop()
        done.set()

    # When it is done again and again
    with capture_logs() as lines:
        running = asyncio.create_task(run_forever("example", work, every_s=3600, retry_after_s=0))
        async with asyncio.timeout(5):
            await done.wait()
    # Then it was done once more, soon, and one line says what was wrong, and another one when an outage was over
    expected = [line | {"work": "example"}]
    if line["event"] == "work_interrupted":
        expected.append({"event": "work_resumed", "log_level": "info", "work": "example"})
    assert lines == expected
    assert not running.done()
    await cancel_all([running])


async def test_work_is_done_again_after_a_pause() -> None:
    done = asyncio.Queue[float]()

    async def work() -> None:
        done.put_nowait(asyncio.get_running_loop().time())

    running = asyncio.create_task(run_forever("example", work, every_s=0.05))
    async with asyncio.timeout(5):
        first, second = await done.get(), await done.get()
    assert second - first >= 0.05
    await cancel_all([running])


async def test_an_outage_and_its_end_are_logged_once() -> None:
    # Given work that several outages interrupt, one after the other
    errors = [NatsTimeoutError(), NoRespondersError(), NatsTimeoutError()]
    done = asyncio.Queue[None]()

    async def work() -> None:
        if errors:
            raise errors.pop(0)
        done.put_nowait(None)

    # When it is repeated, and then succeeds several times
    with capture_logs() as lines:
        running = asyncio.create_task(run_forever("example", work, every_s=0))
        async with asyncio.timeout(5):
            for _ in range(3):
                await done.get()
        await cancel_all([running])
    # Then one line reports the first outage, and another one the end
    assert [(line["event"], line["log_level"], line.get("error")) for line in lines] == [
        ("work_interrupted", "warning", "NATS did not answer in time"),
        ("work_resumed", "info", None),
    ]
