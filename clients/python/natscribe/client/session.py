"""The base class of `Client`: opens and closes its connection to NATS, and sends requests over it."""

from collections.abc import AsyncIterator
from typing import TypeVar

from typing_extensions import Self

from natscribe.client.connection import OutageCallback, connect, read_settings
from natscribe.client.errors import ClientError
from natscribe.client.exchange import Reply, request
from natscribe.client.permissions import Connection
from natscribe.client.stores import UploadCallback
from natscribe.client.submission import AnyInput, build_message
from natscribe.jetstream.nats_py_compat import close
from natscribe.schemas.requests import Deleted, DeleteLettersRequest, LettersDeleted, UserRequest
from natscribe.settings import Settings

Deletion = TypeVar("Deletion", Deleted, LettersDeleted)


class Session:
    """A connection to NATS for requests to the service, which is open during an `async with` block."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        on_outage: OutageCallback | None = None,
        on_upload: UploadCallback | None = None,
    ) -> None:
        self._settings = settings or read_settings()
        self._on_outage = on_outage
        self._on_upload = on_upload
        self._connected: Connection | None = None

    async def __aenter__(self) -> Self:
        self._connected = await connect(self._settings, self._on_outage)
        return self

    async def __aexit__(self, *_: object) -> None:
        await close(self._connection)

    @property
    def _connection(self) -> Connection:
        if self._connected is None:
            what = "The client is not connected"
            raise ClientError(what, "use it as `async with Client() as client`")
        return self._connected

    async def _request(
        self, subject: str, request_type: type[AnyInput], reply_type: type[Reply], **fields: object
    ) -> Reply:
        return await request(self._connection, subject, build_message(request_type, fields), reply_type)

    async def _delete_all(
        self, subject: str, message: UserRequest | DeleteLettersRequest, reply_type: type[Deletion]
    ) -> AsyncIterator[Deletion]:
        """Send a deletion request repeatedly until the service has deleted everything, and yield each reply.

        When the time limit of a request is reached, the reply says where the next request has to continue.
        """
        while True:
            reply = await request(self._connection, subject, message, reply_type)
            yield reply
            if reply.more_after is None:
                return
            message = message.model_copy(update={"after": reply.more_after})
