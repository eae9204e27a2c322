"""Health: whether the process lives, is ready for work, has started. Read-only."""

import json
from collections.abc import Awaitable, Callable

from faststream.asgi import AsgiResponse, get
from faststream.asgi.handlers import HttpHandler

Check = Callable[[], Awaitable[bool]]


def route(**checks: Check) -> HttpHandler:
    """A GET route: 200 where every check holds, else 503; the body says which do not."""

    @get(include_in_schema=False)
    async def health(_: object) -> AsgiResponse:
        found = {name: await check() for name, check in checks.items()}
        body = json.dumps({"ok": all(found.values()), **found}).encode()
        return AsgiResponse(body, 200 if all(found.values()) else 503, {"content-type": "application/json"})

    return health
