"""The page that shows the document: served from here alone, for reading alone, and looked at in a real browser."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
import yaml

from app.docs_page import DocsPage
from app.embedded import free_port
from app.main import Worker
from app.settings import Settings
from app.specification import document
from tests.document import DOCUMENT, ROOT
from tests.fakes.engine import FakeEngine
from tests.waiting import eventually

ASSETS = ROOT / "app" / "docs_page" / "assets"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
USABLE_WITHIN = 2.0  # seconds, on a machine that does nothing else


class Site:
    """The routes of the page, without the rest of the service."""

    def __init__(self) -> None:
        specification = document(DOCUMENT["info"]["version"], Settings(_env_file=None))
        specification.add_broker(Worker(Settings(_env_file=None), FakeEngine()).broker)
        self.routes: dict[str, Any] = dict(DocsPage(specification).routes())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.routes[scope["path"]](scope, receive, send)

    async def get(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        sent: list[dict[str, Any]] = []

        async def send(part: dict[str, Any]) -> None:
            sent.append(part)

        await self({"type": "http", "method": method, "path": path}, None, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers, sent[1]["body"]


@pytest.fixture(scope="module")
def site() -> Site:
    return Site()


async def test_the_page_is_a_page_that_trusts_nobody_else(site: Site) -> None:
    for path in site.routes:
        status, headers, _ = await site.get(path)
        assert status == (307 if path == "/" else 200)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


async def test_the_page_is_for_reading_alone(site: Site) -> None:
    for path in site.routes:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert (await site.get(path, method))[0] == 405


async def test_the_document_is_served_as_it_is_written(site: Site) -> None:
    assert json.loads((await site.get("/asyncapi.json"))[2]) == DOCUMENT
    assert yaml.safe_load((await site.get("/asyncapi.yaml"))[2]) == DOCUMENT


async def test_all_that_the_page_names_is_there(site: Site) -> None:
    page = (await site.get("/docs"))[2].decode()
    assert "://" not in page
    named = {part.split('"')[0] for attribute in ('href="', 'src="') for part in page.split(attribute)[1:]}
    assert {f"/{name}" for name in named} <= set(site.routes)


def test_the_viewer_is_the_one_of_the_notice() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for name in ("viewer.js", "viewer.css", "viewer.LICENSE.txt"):
        digest = hashlib.sha256((ASSETS / name).read_bytes()).hexdigest()
        assert f"{digest}  app/docs_page/assets/{name}\n" in notice


@pytest.fixture
async def url(site: Site) -> Any:
    config = uvicorn.Config(site, port=free_port(), lifespan="off", log_level="error")
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
