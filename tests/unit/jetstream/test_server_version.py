"""Servers that may lose acknowledged messages in a power failure are recognized by their version."""

from unittest.mock import create_autospec

import pytest
from faststream.nats import NatsBroker
from nats.aio.client import Client, ServerVersion
from natscribe.jetstream.server_version import durability_problem
from structlog.testing import capture_logs

from app.settings import Settings
from app.storage.jetstream.connection import connect


@pytest.mark.parametrize("version", ["2.12.10", "2.14.2", "2.15.0"])
def test_an_old_server_is_a_problem(version: str) -> None:
    problem = durability_problem(ServerVersion(version))
    assert problem is not None
    assert f"version {version}, which may lose acknowledged messages" in problem.what
    assert problem.next_step == "update nats-server to 2.15.1 or later"


@pytest.mark.parametrize("version", ["2.15.1", "2.15.10", "2.16.0-beta.1", "3.0.0"])
def test_a_durable_server_is_no_problem(version: str) -> None:
    assert durability_problem(ServerVersion(version)) is None


async def test_a_worker_logs_that_its_server_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a connection to an old server
    monkeypatch.setattr(Client, "connected_server_version", ServerVersion("2.15.0"))
    broker = create_autospec(NatsBroker, instance=True)
    broker.connect.return_value = Client()
    # When a worker connects
    with capture_logs() as logged:
        await connect(broker, Settings(_env_file=None))
    # Then its log has one warning, with what to do
    (warning,) = logged
    assert (warning["event"], warning["log_level"]) == ("nats_server_outdated", "warning")
    assert warning["next_step"] == "update nats-server to 2.15.1 or later"
