"""Health checks: HTTP routes that report whether a worker is alive, is ready for tasks, and has started."""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Sequence

from faststream.asgi import AsgiResponse, get
from faststream.asgi.handlers import HttpHandler
from faststream.nats import NatsBroker
from nats.errors import Error as NatsError
from nats.js.errors import APIError
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S

from app.settings import Settings

Check = Callable[[], bool | Awaitable[bool]]


async def nats_responds(broker: NatsBroker, settings: Settings) -> bool:
    """Return whether NATS replies to a request, which an open connection alone does not show.

    A ping would not do: if its reply arrives too late, nats-py stops reading from the connection.
    """
    connection = await broker.connect()
    try:
        await connection.jetstream(timeout=REQUEST_TIMEOUT_S).stream_info(settings.nats_stream_name)
    except APIError:
        return connection.is_connected  # an error from JetStream shows that the server answers
    except NatsError:
        return False
    return connection.is_connected


def route(paths: Sequence[str] = (), /, **checks: Check) -> HttpHandler:
    """Create an HTTP GET route that responds with status 200 if all `checks` succeed, otherwise 503.

    The JSON body has the outcome of each check by its name. `paths`: the paths of more detailed health checks, which
    the body lists under `see`.
    """
    further = {"see": paths} if paths else {}

    @get(include_in_schema=False)
    async def health(_: object) -> AsgiResponse:
        outcomes = dict(zip(checks, await asyncio.gather(*map(_run, checks.values())), strict=True))
        is_ok = all(outcomes.values())
        body = json.dumps({"ok": is_ok, **outcomes, **further}).encode()
        return AsgiResponse(body, 200 if is_ok else 503, {"content-type": "application/json"})

    return health


async def _run(check: Check) -> bool:
    outcome = check()
    return await outcome if inspect.isawaitable(outcome) else outcome
