"""Visits to the tab of the page that records a microphone, in a real browser, and what they leave behind."""

import asyncio
import io
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from nats.js import JetStreamContext
from natscribe.schemas.headers import END

from app.embedded import NatsServer, free_port
from app.settings import Settings
from tests.document import ROOT
from tests.e2e.browser import driven_by, serving

PAGE = ROOT / "examples/browser"
READABLE = 4.5  # the contrast that WCAG requires


class Pages:
    """NATS for pages, and a browser that opens them."""

    def __init__(self, server: NatsServer, websocket: int, site: str, folder: Path) -> None:
        self.settings = Settings(_env_file=None, nats_url=server.url, audio_store="nats://audio", cache_ttl=0)
        self.websocket = f"ws://127.0.0.1:{websocket}"
        self.site = site
        self.folder = folder

    async def visit(self, visit: str, **options: object) -> dict[str, Any]:
        """What the browser has observed; there were no errors, and no requests to other hosts."""
        options_json = json.dumps({"page": f"{self.site}#live", "server": self.websocket} | options)
        observed = await asyncio.to_thread(driven_by, "speak.mjs", self.folder, options_json, visit)
        inside = (self.site, "data:", "blob:", "about:")
        assert [address for address in observed["requested"] if not address.startswith(inside)] == []
        return observed


@contextmanager
def page_for(websocket: int, folder: Path) -> Iterator[str]:
    """Serve the page from a copy in `folder` that connects to NATS at this port; yields the address."""
    shutil.copytree(PAGE, folder)
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    settings["server"] = f"ws://127.0.0.1:{websocket}"
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    with serving(folder) as address:
        yield address


@asynccontextmanager
async def nats_for_pages(folder: Path, more_config: str = "") -> AsyncIterator[tuple[NatsServer, int]]:
    port = free_port()
    websocket = f'websocket {{ listen: "127.0.0.1:{port}", no_tls: true }}\n'
    server = NatsServer(folder, free_port(), more_config=websocket + more_config)
    await server.start()
    try:
        yield server, port
    finally:
        await server.stop()


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as WCAG defines it."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = np.array([int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]) / 255
    linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def check_colours(firm: str, open_: str, paper: str) -> None:
    assert firm != open_
    assert contrast(firm, paper) > contrast(open_, paper) > READABLE


async def stored_in(js: JetStreamContext) -> bytes:
    """The audio of the only live task, whose frames have no gap and are stored once."""
    state = (await js.stream_info("transcription_live")).state
    frames = [await js.get_msg("transcription_live", number) for number in range(state.first_seq, state.last_seq + 1)]
    (task_id,) = {(frame.subject or "").rpartition(".")[2] for frame in frames}
    headers = [frame.headers or {} for frame in frames]
    assert [header["Nats-Msg-Id"] for header in headers] == [f"{task_id}-{number}" for number in range(len(frames))]
    assert [END in header for header in headers] == [False] * (len(frames) - 1) + [True]
    return b"".join(frame.data or b"" for frame in frames)


def seconds_of(encoded: bytes) -> float:
    with av.open(io.BytesIO(encoded), "r") as container:
        (stream,) = container.streams.audio
        assert (stream.codec_context.name, stream.channels) == ("opus", 1)
        return sum(float(frame.samples / frame.sample_rate) for frame in container.decode(stream))


def recorded(lags: list[str]) -> float:
    """The seconds that the page has shown last."""
    minutes, _, seconds = lags[-1].partition(",")[0].partition(":")
    return 60 * int(minutes) + int(seconds)
