"""Requests to an ASGI application without an HTTP server."""

from collections.abc import MutableMapping
from typing import Any
from unittest.mock import AsyncMock


async def request(app: Any, path: str, method: str = "GET", **more_scope: object) -> tuple[int, dict[str, str], bytes]:
    """Return the status, the headers and the body of the response of `app`, an application or a route."""
    sent: list[MutableMapping[str, Any]] = []

    async def send(part: MutableMapping[str, Any]) -> None:
        sent.append(part)

    receive = AsyncMock(return_value={"type": "http.request", "body": b"", "more_body": False})
    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""} | more_scope
    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return int(sent[0]["status"]), headers, sent[1]["body"]
