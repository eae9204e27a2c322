"""Visits to the page, in a real browser, with NATS and perhaps the service behind it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.page import WebPage
from app.embedded import NatsServer, free_port
from app.settings import Settings
from tests.e2e.browser import CHROMIUM, driven_by


@dataclass(frozen=True)
class Site:
    """The page at an address, and the NATS behind it."""

    url: str
    server: NatsServer
    folder: Path

    @property
    def settings(self) -> Settings:
        return Settings(_env_file=None, nats_url=self.server.url, audio_store="nats://audio", cache_ttl=0)

    async def visit(self, visit: str, browser: str | None = CHROMIUM, **options: object) -> dict[str, Any]:
        """What a visitor has observed: nothing was requested from another host, and nothing was inaccessible."""
        given = json.dumps({"page": self.url} | options)
        seen = await asyncio.to_thread(driven_by, "use_page.mjs", self.folder, given, visit, browser=browser)
        inside = (
            "http://127.0.0.1:",
            "data:",
            "blob:http://127.0.0.1:",
            "about:",
        )  # Firefox lists the WebSocket as http
        outside = {address for address in seen["requested"] if not address.startswith(inside)}
        assert outside == set(), outside
        assert seen["violations"] == []
        return seen


@asynccontextmanager
async def site_in(
    folder: Path,
    more_config: str = "",
    *,
    audio_store: str = "nats://audio",
    audio_max_bytes: int = 10**9,
    page: WebPage | None = None,
) -> AsyncIterator[Site]:
    """The page as `natscribe up` serves it, without a worker."""
    page = page or WebPage(free_port(), free_port())
    server = NatsServer(folder / "nats", free_port(), more_config=page.nats_config + more_config)
    await server.start()
    try:
        with page.served(Settings(_env_file=None, audio_store=audio_store, audio_max_bytes=audio_max_bytes)):
            yield Site(page.url, server, folder)
    finally:
        await server.stop()
