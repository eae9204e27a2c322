"""Serves the AsyncAPI document as a web page, which is read-only and loads nothing from other hosts."""

import asyncio
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from faststream.asgi import AsgiResponse, get
from faststream.asgi.handlers import HttpHandler
from faststream.specification.base import SpecificationFactory

from app.document.docs_page.front import front_page
from app.document.docs_page.page import render

_ASSETS: Final = Path(__file__).parent / "assets"
_TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_GUARDS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_HTML: Final = "text/html; charset=utf-8"
_FRESH: Final = {"cache-control": "no-cache"}
_CACHED: Final = {"cache-control": "max-age=3600"}


def routes(factory: SpecificationFactory) -> list[tuple[str, HttpHandler]]:
    """Return the HTTP routes, each as its path and its GET handler.

    They serve the front page, the documentation page with its assets, and the AsyncAPI document as JSON and as YAML.
    """

    def as_json() -> bytes:
        return factory.to_specification().to_json().encode()

    def as_yaml() -> bytes:
        return factory.to_specification().to_yaml().encode()

    def as_page() -> bytes:
        return render(json.loads(as_json())).encode()

    def as_front() -> bytes:
        return front_page(json.loads(as_json())["info"]["version"]).encode()

    return [
        ("/", _route(as_front, _FRESH | {"content-type": _HTML})),
        ("/docs/", _redirect("../docs")),
        ("/docs", _route(cache(as_page), _FRESH | {"content-type": _HTML})),
        *((f"/docs/{path.name}", _file(path)) for path in sorted(_ASSETS.iterdir())),
        ("/asyncapi.json", _route(cache(as_json), _FRESH | {"content-type": "application/json"})),
        ("/asyncapi.yaml", _route(cache(as_yaml), _FRESH | {"content-type": "application/yaml"})),
    ]


def _redirect(location: str) -> HttpHandler:
    """Make a handler that redirects to a relative address, which also works behind a proxy that adds a path prefix."""

    @get(include_in_schema=False)
    async def respond(_: object) -> AsgiResponse:
        return AsgiResponse(b"", 307, _GUARDS | {"location": location})

    return respond


def _file(path: Path) -> HttpHandler:
    return _route(path.read_bytes, _CACHED | {"content-type": _TYPES[path.suffix]})


def _route(read: Callable[[], bytes], headers: dict[str, str]) -> HttpHandler:
    @get(include_in_schema=False)
    async def respond(_: object) -> AsgiResponse:
        return AsgiResponse(await asyncio.to_thread(read), 200, _GUARDS | headers)

    return respond
