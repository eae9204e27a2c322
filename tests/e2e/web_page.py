"""Visits to the page, in a real browser, with NATS and perhaps the service behind it."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.command.embedded import NatsServer, free_port, running
from app.command.page import WebPage
from app.settings import Settings
from tests.document import ROOT
from tests.e2e.browser import CHROMIUM, driven_by, serving


@dataclass(frozen=True)
class Site:
    """The page at an address, and the NATS behind it, which pages reach at the port `websocket`."""

    url: str
    server: NatsServer
    websocket: int
    folder: Path

    @property
    def settings(self) -> Settings:
        return Settings(_env_file=None, nats_url=self.server.url, audio_store="nats://audio", cache_ttl=0)

    async def visit(self, visit: str, browser: str | None = CHROMIUM, **options: object) -> dict[str, Any]:
        """What a visitor has observed: nothing was requested from another host, and nothing was inaccessible."""
        given = {"page": self.url, "websocket": self.websocket} | options
        own = "http://127.0.0.1:"  # Firefox lists the WebSocket as http
        seen = await self._driven("use_page.mjs", visit, browser, given, own)
        assert seen["violations"] == []
        return seen

    async def speak(self, visit: str, **options: object) -> dict[str, Any]:
        """What a visitor has observed who records a microphone: nothing was requested from elsewhere."""
        given = {"page": f"{self.url}#live", "server": f"ws://127.0.0.1:{self.websocket}"} | options
        return await self._driven("speak.mjs", visit, CHROMIUM, given, self.url)

    async def _driven(
        self, program: str, visit: str, browser: str | None, options: dict[str, object], own: str
    ) -> dict[str, Any]:
        seen = await asyncio.to_thread(driven_by, program, self.folder, json.dumps(options), visit, browser=browser)
        inside = (own, "data:", f"blob:{own}", "about:")
        outside = {address for address in seen["requested"] if not address.startswith(inside)}
        assert outside == set(), outside
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
    settings = Settings(_env_file=None, audio_store=audio_store, audio_max_bytes=audio_max_bytes)
    async with running(server):
        with page.served(settings):
            yield Site(page.url, server, page.websocket_port, folder)


@asynccontextmanager
async def copied_site(folder: Path) -> AsyncIterator[Site]:
    """A copy of the page on a server of files, without a worker; the copy may connect to any address."""
    port, copy = free_port(), folder / "page"
    websocket = f'websocket {{ listen: "127.0.0.1:{port}", no_tls: true }}\n'
    server = NatsServer(folder / "nats", free_port(), more_config=websocket)
    shutil.copytree(ROOT / "web", copy)
    settings = json.loads((copy / "settings.json").read_text(encoding="utf-8"))
    settings["server"] = f"ws://127.0.0.1:{port}"
    (copy / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    async with running(server):
        with serving(copy) as url:
            yield Site(url, server, port, folder)
