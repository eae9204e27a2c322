"""JetStream may store no more: an upload says so, and what is stored stays."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from natscribe.client import Client, StorageFullError
from natscribe.schemas.progress import ProgressEvent, State

from app.embedded import NatsServer, ValkeyServer, free_port
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.workers import working

RECORDING = Path(__file__).parents[2] / "app/cli/demo/two_readers.flac"
ROOM = RECORDING.stat().st_size * 3 // 2  # for one recording


class SmallNats(NatsServer):
    """NATS with room for one recording."""

    def _command(self, port: int) -> list[str]:
        command = super()._command(port)
        config = Path(command[-1])
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("store_dir:", f"max_file_store: {ROOM}, store_dir:"), encoding="utf-8")
        return command


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[SmallNats]:
    server = SmallNats(tmp_path / "nats", free_port())
    await server.start()
    yield server
    await server.stop()


async def test_an_upload_without_room_says_so(small: SmallNats, valkey: ValkeyServer) -> None:
    # Given a disk that has room for one recording, and a task that is done
    settings = Settings(_env_file=None, nats_url=small.url, redis_url=valkey.url)
    async with working(settings, FakeEngine()), Client(settings) as client:
        done = await client.create_transcription_task(RECORDING)
        last = [event async for event in client.follow(done) if isinstance(event, ProgressEvent)][-1]
        assert last.state is State.COMPLETED
        # When another one is uploaded, then its client is told who can help
        with pytest.raises(StorageFullError, match=r"no room for two_readers\.flac: the operator"):
            await client.create_transcription_task(RECORDING)
        # And what was done is there
        assert (await client.get_task_progress(done)).state is State.COMPLETED
