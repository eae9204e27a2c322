"""Reads how much disk and memory JetStream uses and may use on each server, and how much each stream occupies."""

from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from pydantic import AliasPath, BaseModel, Field

JETSTREAM_USAGE: Final = "$SYS.REQ.SERVER.PING.JSZ"  # each server of a cluster replies
REQUEST: Final = b'{"accounts": true, "streams": true}'
LATER_REPLIES_S: Final = 0.5  # how long to wait for the reply of a further server
FIRST_REPLY_S: Final = 2.0


class _Stream(BaseModel):
    name: str
    bytes: int = Field(validation_alias=AliasPath("state", "bytes"))


class _Account(BaseModel):
    stream_detail: list[_Stream] = []


class Usage(BaseModel):
    """The JetStream usage of one NATS server, in bytes: its disk, its memory, their limits, and each stream's size."""

    server: str = Field(validation_alias=AliasPath("server", "name"))
    memory: int = Field(validation_alias=AliasPath("data", "memory"))
    disk: int = Field(validation_alias=AliasPath("data", "storage"))
    max_memory: int = Field(0, validation_alias=AliasPath("data", "config", "max_memory"))
    max_disk: int = Field(0, validation_alias=AliasPath("data", "config", "max_storage"))
    accounts: list[_Account] = Field([], validation_alias=AliasPath("data", "account_details"))

    @property
    def streams(self) -> dict[str, int]:
        """How many bytes each stream occupies on this server, by name; buckets are streams, too."""
        return {stream.name: stream.bytes for account in self.accounts for stream in account.stream_detail}


async def read_usage(nats: Client) -> list[Usage]:
    """Request the JetStream usage of all servers; return [] if this user lacks the permission, or NATS has no accounts.

    Raises:
        NatsError: NATS is unavailable.
    """
    inbox = await nats.subscribe(nats.new_inbox())
    servers: list[Usage] = []
    try:
        await nats.publish(JETSTREAM_USAGE, REQUEST, reply=inbox.subject)
        with suppress(TimeoutError, ValueError):  # ValueError: nobody replies, or a reply is no usage
            while True:
                reply = await inbox.next_msg(timeout=LATER_REPLIES_S if servers else FIRST_REPLY_S)
                servers.append(Usage.model_validate_json(reply.data))
    finally:
        await inbox.unsubscribe()
    return servers
