"""What docs/contract.md tells clients in words, where no other test does."""

import json

import pytest
from natscribe.schemas.progress import State

from tests.integration.conftest import DEADLINE, Publisher


@pytest.mark.parametrize(
    ("known", "fmt", "content_type"),
    [
        (True, "json", "application/json"),
        (True, "txt", "text/plain"),
        (True, "srt", "text/plain"),
        (True, "vtt", "text/plain"),
        (True, "rttm", "text/plain"),
        (True, "html", "text/html"),
        (False, "txt", "application/json"),  # an error is no text
    ],
)
async def test_the_content_type_tells_text_from_the_rest(
    publisher: Publisher, task_id: str, known: bool, fmt: str, content_type: str
) -> None:
    await publisher.publish(task_id, diarize=True)
    await publisher.until(task_id, State.COMPLETED)
    asked = {"task_id": task_id if known else "unknown", "format": fmt}
    reply = await publisher.nc.request("tasks.result", json.dumps(asked).encode(), timeout=DEADLINE)
    assert (reply.headers or {})["content-type"] == content_type
