"""A redacted recording is there as long as the result of its task."""

from pathlib import Path

import natscribe
import pytest
from nats.js.errors import NotFoundError
from natscribe.schemas.progress import State

from app.settings import Settings
from tests.fakes.engine import REDACTED, FakeEngine
from tests.integration.conftest import Publisher, StartWorker

REDACT = {"entities": ["pci"], "audio": "beep"}


async def test_a_redacted_recording_is_there_until_its_task_is_erased(
    start_worker: StartWorker, publisher: Publisher, settings: Settings, tmp_path: Path
) -> None:
    file, engine = tmp_path / "call.flac", FakeEngine()
    engine.text = "card 4929 1333 8765 1204"
    async with start_worker(engine), natscribe.Client(settings) as client:
        # When a task requests a redacted recording
        await publisher.reaching(State.COMPLETED, "t1", redact=REDACT)
        await publisher.reaching(State.COMPLETED, "t2", redact={"entities": ["pci"]})
        # Then its client can download it
        await client.download_redacted_audio("t1", file)
        assert file.read_bytes().startswith(REDACTED)
        with pytest.raises(natscribe.ClientError, match="t2 has no redacted recording"):
            await client.download_redacted_audio("t2", file)
        with pytest.raises(natscribe.ClientError, match="cannot be written"):
            await client.download_redacted_audio("t1", tmp_path / "missing" / "call.flac")
        # And it is erased with the task
        results = await publisher.js.object_store("results")
        assert (await results.get_info("t1.flac")).size == file.stat().st_size
        await client.delete("t1")
        with pytest.raises(NotFoundError):
            await results.get_info("t1.flac")
