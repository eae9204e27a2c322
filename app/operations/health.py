"""Health: whether the process lives, is ready for work, has started. Read-only."""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable

from faststream.asgi import AsgiResponse, get
from faststream.asgi.handlers import HttpHandler
from faststream.nats import NatsBroker
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from app.jetstream import provisioning
from app.settings import Settings

Check = Callable[[], bool | Awaitable[bool]]

ANSWERS_WITHIN = 2  # seconds


class Readiness:
    """What NATS must give a worker; an open connection says little."""

    def __init__(self, broker: NatsBroker, settings: Settings) -> None:
        self._broker = broker
        self._settings = settings

    async def nats(self) -> bool:
        """Whether NATS answers; asked by a request: a late answer to a ping of ours would end the library's reader."""
        connection = await self._broker.connect()
        try:
            await connection.jetstream(timeout=ANSWERS_WITHIN).stream_info(self._settings.nats_stream_name)
        except APIError:
            return connection.is_connected  # it answers, whatever it says
        except NatsError:
            return False
        return connection.is_connected

    async def consumers(self) -> bool:
        """Whether all streams, consumers and buckets are there."""
        js = (await self._broker.connect()).jetstream(timeout=ANSWERS_WITHIN)
        try:
            return not await provisioning.missing(js, self._settings)
        except NatsError:
            return False


def route(**checks: Check) -> HttpHandler:
    """A GET route: 200 where every check holds, else 503; the body says which do not."""

    @get(include_in_schema=False)
    async def health(_: object) -> AsgiResponse:
        found = dict(zip(checks, await asyncio.gather(*map(_holds, checks.values())), strict=True))
        body = json.dumps({"ok": all(found.values()), **found}).encode()
        return AsgiResponse(body, 200 if all(found.values()) else 503, {"content-type": "application/json"})

    return health


async def _holds(check: Check) -> bool:
    found = check()
    return await found if inspect.isawaitable(found) else found
