"""Which dead letters can be replayed, and the errors for the others."""

import json

import pytest
from nats.js import JetStreamContext
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State

from app.main import Worker
from app.runtime.errors import PermanentError
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, queue_is_empty
from tests.integration.hostile import publish_bytes
from tests.servers import Servers
from tests.waiting import eventually


@pytest.mark.foreign
async def test_a_dead_letter_with_unusual_headers_is_replayed(
    publisher: Publisher, worker: Worker, engine: FakeEngine, servers: Servers, js: JetStreamContext
) -> None:
    # Given tasks that have failed, one of them with a header that the server takes, and clients do not
    engine.fail_with = [PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")] * 2
    task = {"task_id": "t1", "audio_file_id": "meeting.flac", "user_id": 7}
    head = b"NATS/1.0\r\nx/y: 1\r\nX-Fine: 1\r\n\r\n"
    await publish_bytes(servers.nats_url, "tasks.transcription.normal", head, json.dumps(task).encode())
    await publisher.until("t1", State.FAILED)
    await publisher.reaching(State.FAILED, "t2")
    await eventually(lambda: queue_is_empty(js))
    # When they are replayed
    # Then both are, each once
    assert await publisher.request("dead_letters.replay", code="worker_lost") == {"replayed": 2}
