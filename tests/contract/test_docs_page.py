"""The page that shows the document: served from here alone, and for reading alone."""

import hashlib
import json
from typing import Any
from urllib.parse import urljoin

import pytest
import yaml

from app import docs_page
from app.asyncapi import document
from app.main import Worker
from app.settings import Settings
from tests.document import DOCUMENT, ROOT
from tests.fakes.engine import FakeEngine

ASSETS = ROOT / "app" / "docs_page" / "assets"


class Site:
    """The routes of the page, without the rest of the service."""

    def __init__(self) -> None:
        specification = document(DOCUMENT["info"]["version"], Settings(_env_file=None))
        specification.add_broker(Worker(Settings(_env_file=None), FakeEngine()).broker)
        self.routes: dict[str, Any] = dict(docs_page.routes(specification))

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
        assert status == (307 if path in {"/", "/docs/"} else 200)
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


@pytest.mark.parametrize("path", ["/", "/docs/"])
async def test_other_addresses_lead_to_the_page(site: Site, path: str) -> None:
    assert urljoin(path, (await site.get(path))[1]["location"]) == "/docs"


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
