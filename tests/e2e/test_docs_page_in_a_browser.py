"""The page that shows the document, in a real browser."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from app.embedded import free_port
from tests.contract.test_docs_page import Site
from tests.document import DOCUMENT, ROOT
from tests.waiting import eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
USABLE_WITHIN = 2.0  # seconds, on a machine that does nothing else


@pytest.fixture
async def url() -> AsyncIterator[str]:
    config = uvicorn.Config(Site(), port=free_port(), lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)  # the browser keeps this thread's loop waiting
    thread.start()

    async def started() -> bool:
        return server.started

    await eventually(started)
    yield f"http://127.0.0.1:{config.port}/docs"
    server.should_exit = True
    thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed; Debian has it as `chromium`")
def test_a_person_can_read_every_channel_in_a_browser(url: str, tmp_path: Path) -> None:
    # Given the page in a real browser
    assert CHROMIUM is not None
    node, tool = Path(sys.executable).parent / "node", ROOT / "tools" / "node" / "browse.mjs"
    command = [str(node), str(tool), CHROMIUM, url, str(tmp_path / "page.png")]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert found.returncode == 0, found.stderr
    seen = json.loads(found.stdout)
    # Then nothing is complained about, and nothing is asked of another host
    assert seen["complaints"] == []
    assert {urlsplit(asked).netloc for asked in seen["requested"]} == {urlsplit(url).netloc}
    # And every channel, operation and message can be reached and read
    assert set(_texts(DOCUMENT)) - set(filter(seen["text"].__contains__, _texts(DOCUMENT))) == set()
    assert {link.rpartition("-")[2] for link in seen["links"]} >= {
        *DOCUMENT["operations"],
        *DOCUMENT["components"]["messages"],
    }
    assert seen["dead"] == []
    # And it is there soon, on a machine that does nothing else meanwhile: others get a second chance
    usable_after = min(seen["usableAfter"])
    if usable_after >= USABLE_WITHIN:
        again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
        usable_after = min(json.loads(again.stdout)["usableAfter"])
    print(f"the page is usable after {usable_after:.2f} s")
    assert usable_after < USABLE_WITHIN


def _texts(contract: dict[str, Any]) -> Iterator[str]:
    for channel in contract["channels"].values():
        yield from filter(None, [channel["address"]])
    for operation in contract["operations"].values():
        yield operation["summary"]
    for message in contract["components"]["messages"].values():
        yield message["title"]
