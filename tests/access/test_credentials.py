"""NATS_CREDS_FILE: a server that knows its users by signed tokens lets the service and its clients in."""

import base64
import json
import os
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import nkeys
import pytest
from natscribe.client import Client

from app.command.embedded import free_port
from app.settings import Settings
from tests.access.servers import RECORDING, GuardedValkey
from tests.fakes.engine import FakeEngine
from tests.servers import NatsServer, running_server
from tests.workers import working

CREDENTIALS = """-----BEGIN NATS USER JWT-----
{token}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


class Key:
    """A signer: an operator, an account or a user."""

    def __init__(self, prefix: int) -> None:
        self.seed: bytes = nkeys.encode_seed(os.urandom(32), prefix)
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public: str = self._pair.public_key.decode()

    def token(self, of: "Key", claims: dict[str, object]) -> str:
        """A JWT about another entity, signed by this one."""
        body: dict[str, object] = {"iat": int(time.time()), "iss": self.public, "sub": of.public, "nats": claims}
        body["jti"] = sha256(json.dumps(body).encode()).hexdigest()
        signed = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(body)}"
        return f"{signed}.{_coded(self._pair.sign(signed.encode()))}"


def _part(content: dict[str, object]) -> str:
    return _coded(json.dumps(content).encode())


def _coded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


class SigningNats(NatsServer):
    """NATS with one account, which its operator has signed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, free_port())
        operator, user = Key(nkeys.PREFIX_BYTE_OPERATOR), Key(nkeys.PREFIX_BYTE_USER)
        account, system = Key(nkeys.PREFIX_BYTE_ACCOUNT), Key(nkeys.PREFIX_BYTE_ACCOUNT)
        unlimited = {"subs": -1, "data": -1, "payload": -1}
        storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        limits = unlimited | storage | {"conn": -1, "leaf": -1, "imports": -1, "exports": -1, "wildcards": True}
        self._operator = operator.token(operator, {"type": "operator", "version": 2})
        of_an_account: dict[str, object] = {"type": "account", "version": 2}
        self._system = system.public
        self._accounts = {
            account.public: operator.token(account, of_an_account | {"limits": limits}),
            system.public: operator.token(system, of_an_account | {"limits": limits | dict.fromkeys(storage, 0)}),
        }
        token = account.token(user, {"type": "user", "version": 2, **unlimited})
        self.credentials = folder / "user.creds"
        self.credentials.write_text(CREDENTIALS.format(token=token, seed=user.seed.decode()))

    def _command(self, port: int) -> list[str]:
        command = super()._command(port)
        preload = ", ".join(f"{name}: {word}" for name, word in self._accounts.items())
        with Path(command[-1]).open("a", encoding="utf-8") as config:
            config.write(f"operator: {self._operator}\nsystem_account: {self._system}\n")
            config.write(f"resolver: MEMORY\nresolver_preload: {{ {preload} }}\n")
        return command


@pytest.fixture
async def signing(tmp_path: Path) -> AsyncIterator[SigningNats]:
    folder = tmp_path / "signing"
    folder.mkdir()
    async with running_server(SigningNats(folder)) as server:
        yield server


async def test_credentials_let_the_service_and_its_clients_in(signing: SigningNats, valkey: GuardedValkey) -> None:
    # Given a server that requires a signed token
    settings = Settings(
        _env_file=None,
        nats_url=signing.url,
        nats_creds_file=signing.credentials,
        redis_url=valkey.url_of("service"),
    )
    # When a worker and a client have one each
    async with working(settings, FakeEngine()), Client(settings) as client:
        task_id = await client.create_transcription_task(RECORDING)
        # Then the task is done
        await client.wait_for_result(task_id)
