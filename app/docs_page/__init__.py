"""The page that shows the AsyncAPI document: everything from here, nothing from elsewhere, nothing but reading."""

import asyncio
from functools import cached_property
from pathlib import Path
from typing import Final

from faststream.asgi import AsgiResponse, get
from faststream.asgi.handlers import HttpHandler
from faststream.specification.base import SpecificationFactory

_ASSETS: Final = Path(__file__).parent / "assets"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_GUARDS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_FRESH: Final = {"cache-control": "no-cache"}
_CACHED: Final = {"cache-control": "max-age=3600"}  # the viewer has 2.5 MB


class DocsPage:
    """The routes of the page and of the document."""

    def __init__(self, factory: SpecificationFactory) -> None:
        self._factory = factory

    @cached_property
    def _json_body(self) -> bytes:
        return self._factory.to_specification().to_json().encode()

    @cached_property
    def _yaml_body(self) -> bytes:
        return self._factory.to_specification().to_yaml().encode()

    def routes(self) -> list[tuple[str, HttpHandler]]:
        """Each path with its GET route."""
        assets = [path for path in _ASSETS.iterdir() if path.suffix != ".html"]
        return [
            ("/", get(self._to_page, include_in_schema=False)),
            ("/docs", _file(_ASSETS / "page.html")),
            *((f"/docs/{path.name}", _file(path)) for path in sorted(assets)),
            ("/asyncapi.json", get(self._json, include_in_schema=False)),
            ("/asyncapi.yaml", get(self._yaml, include_in_schema=False)),
        ]

    async def _to_page(self, _: object) -> AsgiResponse:
        return AsgiResponse(b"", 307, _GUARDS | {"location": "docs"})

    async def _json(self, _: object) -> AsgiResponse:
        body = await asyncio.to_thread(lambda: self._json_body)
        return AsgiResponse(body, 200, _GUARDS | _FRESH | {"content-type": "application/json"})

    async def _yaml(self, _: object) -> AsgiResponse:
        body = await asyncio.to_thread(lambda: self._yaml_body)
        return AsgiResponse(body, 200, _GUARDS | _FRESH | {"content-type": "application/yaml"})


def _file(path: Path) -> HttpHandler:
    @get(include_in_schema=False)
    async def asset(_: object) -> AsgiResponse:
        body = await asyncio.to_thread(path.read_bytes)
        return AsgiResponse(body, 200, _GUARDS | _CACHED | {"content-type": _TYPES[path.suffix]})

    return asset
