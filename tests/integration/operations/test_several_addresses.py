"""NATS_URL with several addresses, of which some lead nowhere."""

import socket
import time
from collections.abc import Iterator

import pytest
from natscribe.client import Client
from natscribe.client.errors import NoServerError
from natscribe.schemas.progress import State

from app.command.embedded import free_port
from app.settings import Settings
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker

CONNECT_TIMEOUT = 0.5  # seconds that the client waits for one address, here
SLACK = 2.5  # seconds: other tests run beside this one; nats-py alone would take longer


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing, as one that is frozen."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"nats://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _in_the_given_order(monkeypatch: pytest.MonkeyPatch, constants: Constants) -> None:
    monkeypatch.setattr("nats.aio.client.shuffle", lambda _: None)
    constants(CONNECT_TIMEOUT_S=CONNECT_TIMEOUT)


def several(settings: Settings, *first: str) -> Settings:
    return settings.model_copy(update={"nats_url": ",".join((*first, settings.nats_url))})


async def test_a_worker_and_a_client_use_the_address_that_replies(
    settings: Settings, start_worker: StartWorker, publisher: Publisher, engine: FakeEngine
) -> None:
    # Given two addresses, of which the first leads nowhere
    settings.nats_url = several(settings, f"nats://127.0.0.1:{free_port()}").nats_url
    # When a worker and a client are given both
    async with start_worker(engine), Client(settings) as client:
        await publisher.reaching(State.COMPLETED, "t1")
        # Then both work
        assert (await client.get_task_progress("t1")).state is State.COMPLETED


async def test_each_silent_address_costs_a_client_one_connect_timeout(
    settings: Settings, silent: str, constants: Constants
) -> None:
    # Given two first addresses that take connections and say nothing
    constants(GRACE_PERIOD_S=0.2)
    began = time.monotonic()
    # When a client connects
    async with Client(several(settings, silent, silent)):
        took = time.monotonic() - began
    # Then it tries the next address when its time for one is up
    assert 2 * CONNECT_TIMEOUT <= took <= 2 * CONNECT_TIMEOUT + SLACK


async def test_an_only_address_that_is_silent_is_not_tried_to_the_end_twice(silent: str, constants: Constants) -> None:
    # Given a client whose patience ends before any failure
    constants(CONNECT_TIMEOUT_S=SLACK, GRACE_PERIOD_S=-SLACK)
    began = time.monotonic()
    # When it connects to an address that takes connections and says nothing
    with pytest.raises(NoServerError, match=f"No NATS server answers at {silent}"):
        async with Client(Settings(_env_file=None, nats_url=silent)):
            pass
    # Then it fails before nats-py would
    assert time.monotonic() - began < 2 * SLACK


async def test_if_no_server_replies_all_addresses_are_named_at_once(settings: Settings) -> None:
    # Given addresses that lead nowhere, with passwords
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    settings.nats_url = ",".join(f"nats://me:secret@{address}" for address in addresses)
    began = time.monotonic()
    # When a client connects
    with pytest.raises(NoServerError) as refused:
        async with Client(settings):
            pass
    # Then it fails soon and names the addresses, without the passwords
    assert time.monotonic() - began < SLACK
    assert all(address in str(refused.value) for address in addresses)
    assert "secret" not in str(refused.value)
