"""What a worker logs of the errors that NATS reports, and how they end its start."""

import asyncio
import ssl
from pathlib import Path

import pytest
from nats.errors import Error
from structlog.testing import capture_logs

from app.runtime.errors import describe
from app.settings import Settings
from app.storage.jetstream.connection import StartError, stop_on_refusal
from app.storage.jetstream.connection_monitor import ConnectionMonitor

REFUSED = 'nats: permissions violation for publish to "$js.api.stream.create.transcription_tasks"'


@pytest.mark.parametrize(
    ("error", "event", "level"),
    [
        (Error(REFUSED), "nats_permission_refused", "error"),
        (Error("nats: slow consumer"), "nats_error_received", "warning"),
    ],
)
async def test_a_missing_permission_is_explained(error: Error, event: str, level: str) -> None:
    # When NATS reports an error to a worker
    with capture_logs() as logged:
        await ConnectionMonitor().on_error(error)
    # Then the log distinguishes a missing permission from a transient error
    assert logged == [{"event": event, "log_level": level, "error": str(error)}]


SERVICE = Settings(_env_file=None, nats_url="nats://me:secret@host:4222", nats_user="service")


@pytest.mark.parametrize(
    ("error", "settings", "sentence"),
    [
        (
            Error(REFUSED),
            SERVICE,
            "NATS refuses the user service what a worker needs: permissions violation for publish",
        ),
        (
            Error("nats: 'Authorization Violation'"),
            SERVICE,
            "NATS at nats://host:4222 refuses the login of the user service",
        ),
        (
            Error("nats: 'User Authentication Expired'"),
            SERVICE.model_copy(update={"nats_creds_file": Path("/run/secrets/service.creds")}),
            "refuses the login of the user of /run/secrets/service.creds",
        ),
        (
            Error("nats: 'Authorization Violation'"),
            SERVICE.model_copy(update={"nats_user": None}),
            "refuses the login of a client without NATS_USER",
        ),
        (ssl.SSLError("self-signed certificate"), SERVICE, "NATS at nats://host:4222 is not trusted"),
    ],
)
async def test_a_refusal_ends_the_start_at_once(error: Exception, settings: Settings, sentence: str) -> None:
    # Given a worker that starts and waits for a reply
    monitor = ConnectionMonitor()

    async def start() -> None:
        async with asyncio.timeout(1), stop_on_refusal(monitor, settings):
            # When NATS refuses something
            await monitor.on_error(error)
            await asyncio.sleep(60)

    with capture_logs() as logged, pytest.raises(StartError, match=sentence):
        await start()
    # Then the start ends with a sentence, and nothing else is logged
    assert logged == []


async def test_another_error_does_not_end_the_start() -> None:
    monitor = ConnectionMonitor()
    async with stop_on_refusal(monitor, SERVICE):
        await monitor.on_error(Error("nats: slow consumer"))
        await asyncio.sleep(0)
    # And a later refusal is logged
    with capture_logs() as logged:
        await monitor.on_error(Error(REFUSED))
    assert [line["event"] for line in logged] == ["nats_permission_refused"]


@pytest.mark.parametrize(
    ("error", "words"), [(ValueError("no such thing"), "no such thing"), (ValueError(), "ValueError")]
)
def test_an_error_is_described_by_its_message_or_type(error: Exception, words: str) -> None:
    assert describe(error) == words
