"""A NATS server and a Valkey server with the users and permissions of deploy/."""

import asyncio
import os
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
from nats.aio.client import Client as Nats

from app.command.embedded import free_port
from app.command.embedded.process import HOST
from app.settings import Settings
from tests.servers import NatsServer, ValkeyServer, in_memory, running_server

DEPLOY = Path(__file__).parents[2] / "deploy"
RECORDING = DEPLOY.parent / "app/command/demo/two_readers.flac"
CLIENTS = ("publisher", "follower", "operator")
USERS = ("service", "admin", *CLIENTS, "monitoring")


def password(user: str) -> str:
    """A password of each user; the server must not take one for a number."""
    return {"service": "12e4", "publisher": "30m"}.get(user, f"{user} opens")


def inbox(user: str) -> str:
    """The inbox prefix of a user; that of the service is the default."""
    return "_INBOX" if user == "service" else f"_INBOX_{user}"


def login(settings: Settings, user: str) -> Settings:
    """The settings of another user."""
    chosen = {"nats_user": user, "nats_password": password(user), "nats_inbox_prefix": inbox(user)}
    return Settings(_env_file=None, **(settings.model_dump(exclude_none=True) | chosen))


def environment(user: str) -> dict[str, str]:
    """The variables from which programs read the login of a user."""
    return {"NATS_USER": user, "NATS_PASSWORD": password(user), "NATS_INBOX_PREFIX": inbox(user)}


def write_secrets(folder: Path) -> Path:
    """The files that the servers read passwords from."""
    folder.mkdir(parents=True, exist_ok=True)
    for user in USERS:
        (folder / f"nats_{user}").write_text(password(user) + "\n")
    for user in ("service", "reader"):
        (folder / f"redis_{user}").write_text(f"{user}-redis\n")
    return folder


class GuardedNats(NatsServer):
    """NATS as the production stack starts it, or with another configuration; `websocket` is a port for browsers.

    `tls` is a folder with a certificate.
    """

    def __init__(
        self, folder: Path, *, tls: Path | None = None, websocket: int | None = None, deploy: Path = DEPLOY / "nats"
    ) -> None:
        super().__init__(folder, free_port())
        self._deploy = deploy
        self._tls = tls
        self._websocket = websocket

    def _command(self, port: int) -> list[str]:
        secrets = write_secrets(self.folder / "secrets")
        path = f"PATH={Path(self._executable()).parent}:/usr/bin:/bin"
        options = {"name": self.name, "addr": HOST, "port": port, "http_port": -1, "store_dir": self.folder}
        if self._tls is not None:
            options |= {"tlscert": self._tls / "server.crt", "tlskey": self._tls / "server.key"}
        if self._websocket is not None:
            options["config"] = self._deploy / "websocket.conf"
        command = [
            "env",
            path,
            f"NATS_WEBSOCKET_PORT={self._websocket or ''}",
            "sh",
            str(self._deploy / "start.sh"),
            str(secrets),
        ]
        command += ["--trace", "--max_traced_msg_len", "1", *(["--tls"] if self._tls else [])]
        return command + [word for name, value in options.items() for word in (f"--{name}", str(value))]

    @property
    def log(self) -> list[str]:
        """The log of the server, including each line that a client sent."""
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()

    def refused(self) -> list[str]:
        """What the server has refused to whom."""
        return [line for line in self.log if "[ERR]" in line and "Violation" in line]


class GuardedValkey(ValkeyServer):
    """Valkey with the users of the production stack."""

    def _command(self, port: int) -> list[str]:
        secrets, users = write_secrets(self.folder / "secrets"), self.folder / "users.acl"
        with users.open("wb") as file:
            subprocess.run(["sh", str(DEPLOY / "redis/users.sh"), str(secrets)], stdout=file, check=True)  # noqa: S607
        return [*super()._command(port), "--aclfile", str(users)]

    async def _is_this_server(self, reader: StreamReader, writer: StreamWriter) -> bool:
        writer.write(b"PING\r\n")
        return (await reader.readline()).startswith(b"-NOAUTH")

    def url_of(self, user: str) -> str:
        return self.url.replace("://", f"://{user}:{user}-redis@")


def service_settings(nats_url: str, valkey: GuardedValkey, **options: object) -> Settings:
    """The settings of a worker on these servers, with the login of the service."""
    settings = Settings(_env_file=None, nats_url=nats_url, redis_url=valkey.url_of("service"))
    return login(settings.model_copy(update=options), "service")


@asynccontextmanager
async def connected(server: GuardedNats, user: str) -> AsyncIterator[Nats]:
    """A connection of a user of nats-py; what NATS refuses is in the server's log."""

    async def ignore(_: Exception) -> None:
        """Do nothing."""

    async with await nats.connect(
        server.url, user=user, password=password(user), inbox_prefix=inbox(user), error_cb=ignore
    ) as connection:
        yield connection


async def natscribe(settings: Settings, user: str, *words: str, folder: Path) -> tuple[int | None, str]:
    """The exit status and the output of a command of a user."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "natscribe",
        *words,
        cwd=folder,
        env=os.environ | {"NATS_URL": settings.nats_url} | environment(user),
        stdout=PIPE,
        stderr=STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode().strip()


@asynccontextmanager
async def guarded_in_memory() -> AsyncIterator[GuardedNats]:
    """The server, with its data in memory."""
    with in_memory() as folder:
        async with running_server(GuardedNats(folder)) as server:
            yield server
