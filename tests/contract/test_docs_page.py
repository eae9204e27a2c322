"""The docs page: self-contained, read-only and complete."""

import copy
import json
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import pytest

from app.document import Document, docs_page
from app.document.docs_page import contract
from app.document.docs_page.page import render
from app.main import Worker
from app.settings import Settings
from tests.asgi import request
from tests.document import COMPONENTS, DOCUMENT, MESSAGES, ROOT, channel_of, names
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.xdist_group("docs page")  # the page is rendered once

INSIDE = {name for name, operation in DOCUMENT["operations"].items() if {"name": "inside"} in operation["tags"]}


class Site:
    """The HTTP routes of the page, without the rest of the service."""

    def __init__(self) -> None:
        specification = Document(DOCUMENT["info"]["version"], Settings(_env_file=None))
        specification.add_broker(Worker(Settings(_env_file=None), FakeEngine()).broker)
        self.routes: dict[str, Any] = dict(docs_page.routes(specification))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.routes[scope["path"]](scope, receive, send)

    async def get(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        return await request(self, path, method)


class Page(HTMLParser):
    """The visible text of a page, its whole text, its links and anchors."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: list[str] = []
        self._closed: list[bool] = []  # for each `details` around: whether it is closed
        self._in_summary = False
        self._seen: list[str] = []
        self._all: list[str] = []
        self.feed(html)

    @property
    def seen(self) -> str:
        return " ".join("".join(self._seen).split())

    @property
    def text(self) -> str:
        return " ".join("".join(self._all).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.links |= {attributes[name] or "" for name in ("href", "src") if name in attributes}
        self.anchors += [attributes["id"] or ""] if "id" in attributes else []
        if tag == "details":
            self._closed.append("open" not in attributes)
        self._in_summary |= tag == "summary"

    def handle_endtag(self, tag: str) -> None:
        if tag == "details":
            self._closed.pop()
        if tag == "summary":
            self._in_summary = False

    def handle_data(self, data: str) -> None:
        self._all.append(data)
        if not any(self._closed[:-1] if self._in_summary else self._closed):
            self._seen.append(data)


@pytest.fixture(scope="module")
def site() -> Site:
    return Site()


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(DOCUMENT))


async def test_the_page_loads_nothing_from_other_hosts(site: Site) -> None:
    for path in site.routes:
        status, headers, _ = await site.get(path)
        assert status == (307 if path == "/docs/" else 200)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


async def test_the_page_is_read_only(site: Site) -> None:
    for path in site.routes:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert (await site.get(path, method))[0] == 405


async def test_the_address_with_a_slash_redirects_to_the_page(site: Site) -> None:
    assert urljoin("/docs/", (await site.get("/docs/"))[1]["location"]) == "/docs"


async def test_the_front_page_lists_what_a_worker_serves(site: Site) -> None:
    page = Page((await site.get("/"))[2].decode())
    assert page.seen.startswith(
        f"A worker of Natscribe A worker of Natscribe {DOCUMENT['info']['version']} Tasks go through NATS"
    )
    # This module serves the page and the document, the worker serves the rest
    links = {urljoin("/", link) for link in page.links}
    assert links - set(site.routes) == {"/metrics", "/health/live", "/health/ready", "/health/startup"}
    assert {"/docs", "/asyncapi.yaml"} <= links


async def test_the_document_is_served_as_json_and_yaml() -> None:
    site = Site()
    assert json.loads((await site.get("/asyncapi.json"))[2]) == DOCUMENT
    assert (await site.get("/asyncapi.yaml"))[2] == (ROOT / "asyncapi.yaml").read_bytes()


def test_every_link_of_the_page_has_a_target(site: Site, page: Page) -> None:
    inner = {link for link in page.links if link.startswith("#")}
    assert {f"/{link}" for link in page.links - inner} <= set(site.routes)
    assert {link.removeprefix("#") for link in inner} <= set(page.anchors)
    assert len(set(page.anchors)) == len(page.anchors)


def test_the_page_has_all_texts_of_the_document(page: Page) -> None:
    # Given the page, and the texts of the document about operations, messages and fields
    texts, shown = {_plain(text) for text in _texts()}, page.text
    # Then the page has all of them
    assert {text for text in texts if text not in shown} == set()


def test_the_fields_of_client_messages_are_visible_without_a_click(page: Page) -> None:
    # Given the messages that clients publish and receive
    visible = page.seen
    payloads = [
        MESSAGES[name]["payload"]
        for operation in set(DOCUMENT["operations"]) - INSIDE
        for name in names(channel_of(DOCUMENT["operations"][operation])["messages"].values())
        if MESSAGES[name]["contentType"] == "application/json"
    ]
    fields = {
        f"{name} {_plain(field['description'])}"
        for schema in names(payloads)
        for name, field in COMPONENTS["schemas"][schema]["properties"].items()
    }
    # Then the name and the description of each field are visible
    missing = {field for field in fields if not all(part in visible for part in field.split(" ", 1))}
    assert missing == set()
    # And so is the description of a body that is not JSON
    assert _plain(MESSAGES["Frame"]["payload"]["description"]) in visible


def test_operations_between_workers_are_hidden_at_first(page: Page) -> None:
    visible = page.seen
    for name, operation in DOCUMENT["operations"].items():
        role = (
            "You receive" if operation["action"] == "send" else "You request" if "reply" in operation else "You publish"
        )
        assert (f"{role} {channel_of(operation)['address']}" in visible) == (name not in INSIDE), name


def test_types_for_workers_only_are_separate() -> None:
    view = contract.read(DOCUMENT)
    assert {"Segment", "ErrorCode", "RequestHeaders"} <= set(view.types)
    assert set(view.inside_types) == {"AcceptedHeaders", "InsideHeaders"}


def test_a_message_is_shown_once_and_a_small_request_wherever_it_is_used() -> None:
    view = contract.read(DOCUMENT)
    shown = Counter(
        message.schema
        for group in (*view.groups, *view.inside)
        for operation in group.operations
        for message in (*operation.messages, *operation.replies)
        if message.schema and message.is_whole
    )
    assert shown.keys() == {name for message in MESSAGES.values() if (name := contract.name_of(message["payload"]))}
    assert {schema for schema, times in shown.items() if times > 1} == {"TaskRequest", "DiscoveryRequest"}


def test_the_page_shows_the_limits_of_a_number(page: Page) -> None:
    # The limits of an integer of 64 bits, such as a user id, are powers of two
    assert "at least -2⁶³" in page.text
    assert "below 2⁶³" in page.text


def test_the_page_lists_the_values_of_a_field_whose_type_is_explained_elsewhere(page: Page) -> None:
    assert "One of high, normal, low." in page.text


def test_markup_in_the_document_is_escaped() -> None:
    # Given a document whose texts contain markup
    hostile = copy.deepcopy(DOCUMENT)
    hostile["info"]["description"] = "## <script>a</script>\n\n<script>b</script> [c](javascript:c)"
    task = hostile["components"]["schemas"]["TranscriptionTask"]
    task["properties"]["task_id"] |= {"description": "<script>d</script>", "pattern": "<script>e</script>"}
    hostile["components"]["messages"]["TranscriptionTask"]["examples"][0]["payload"]["task_id"] = "<script>f</script>"
    # Then the page shows it as text
    page = render(hostile)
    assert page.count("<script") == render(DOCUMENT).count("<script")
    assert page.count("&lt;script&gt;") >= 6
    assert 'href="javascript' not in page


def _texts() -> Iterator[str]:
    for operation in DOCUMENT["operations"].values():
        channel = channel_of(operation)
        yield from (channel["address"], channel["description"], operation["title"], operation["summary"])
        yield from (parameter["description"] for parameter in COMPONENTS["parameters"].values())
    for message in MESSAGES.values():
        yield message["title"]
        yield from (example["summary"] for example in message["examples"])
    for schema in COMPONENTS["schemas"].values():
        yield from schema.get("x-enum-descriptions", [])
        yield from (f"{value}" for value in schema.get("enum", []))
        yield from (field["description"] for field in schema.get("properties", {}).values())
    for server in DOCUMENT["servers"].values():
        yield server["description"]


def _plain(markdown: str) -> str:
    return " ".join(markdown.replace("`", "").split())
