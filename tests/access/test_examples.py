"""The examples as users of the production stack, over TLS: with a login, an inbox prefix and an authority to trust."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import nats
import pytest
from nats.js.errors import NoStreamResponseError
from natscribe.client import Client

from app.main import Worker
from tests.access.servers import RECORDING, GuardedNats, GuardedValkey, environment, login, service_settings
from tests.fakes.engine import FakeEngine
from tests.programs import BIN, WITHIN, line_with, output, started
from tests.servers import Servers
from tests.waiting import eventually
from tests.workers import working


@pytest.fixture
async def worker(encrypted: GuardedNats, valkey: GuardedValkey, certificates: Path) -> AsyncIterator[Worker]:
    settings = service_settings(encrypted.url, valkey, nats_tls_ca_file=certificates / "ca.crt")
    async with working(settings, FakeEngine()) as service:
        yield service


def log_in(user: str, monkeypatch: pytest.MonkeyPatch, certificates: Path) -> None:
    """Set the variables that an example reads."""
    for name, value in environment(user).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NATS_TLS_CA_FILE", str(certificates / "ca.crt"))


async def test_each_example_works_with_the_login_of_its_user(
    encrypted: GuardedNats,
    worker: Worker,
    servers: Servers,
    monkeypatch: pytest.MonkeyPatch,
    certificates: Path,
    tmp_path: Path,
) -> None:
    url, python = encrypted.url, BIN / "python"
    # Given a program that may publish
    log_in("publisher", monkeypatch, certificates)
    # Then the first client transcribes a recording
    assert "completed" in await output(url, python, "first_client.py", RECORDING)
    # And the FastStream service does it for a system with a NATS of its own
    async with Client(login(worker.container.settings, "publisher")) as client:
        name = await client.upload(RECORDING)
    await transcribed_by_faststream(name, url, servers.nats_url, monkeypatch)
    # Given a program that may only read
    log_in("follower", monkeypatch, certificates)
    # Then it gets the results
    async with started(url, python, "follower.py", tmp_path) as follower:
        assert "segments" in await line_with(follower, "transcription")
    # And NATS has refused nothing
    assert encrypted.refused() == []


async def transcribed_by_faststream(name: str, url: str, own_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the FastStream example transcribe a recording that a message on the system's own NATS names."""
    monkeypatch.setenv("OWN_NATS_URL", own_url)
    system = await nats.connect(own_url)
    transcripts = await system.subscribe("transcripts.ready")
    recording = json.dumps({"id": "r1", "name": name, "user_id": 1}).encode()

    async def is_stored() -> bool:
        with suppress(NoStreamResponseError):  # the service declares the stream when it starts
            return bool(await system.jetstream().publish("recordings.uploaded", recording))
        return False

    try:
        async with started(url, BIN / "faststream", "run", "faststream_client:app"):
            await eventually(is_stored)
            assert json.loads((await transcripts.next_msg(WITHIN)).data)["lines"]
    finally:
        await system.close()
