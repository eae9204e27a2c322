"""The page, in a real browser: recordings from their upload to their transcript."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.cli.recording import TWO_READERS
from tests.e2e.browser import NEEDS_CHROMIUM
from tests.e2e.conftest import running
from tests.e2e.web_page import Site, site_in
from tests.servers import valkey_in

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(400)]

PHONE = {"width": 390, "height": 844, "scheme": "dark", "isPhone": True}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with site_in(tmp_path) as site:
        yield site


@pytest.fixture
async def service(site: Site, tmp_path: Path) -> AsyncIterator[None]:
    """A worker with a model."""
    async with valkey_in(tmp_path / "valkey") as valkey:
        settings = site.settings.model_copy(update={"redis_url": valkey.url})
        async with running(settings, tmp_path / "service.log"):
            yield


@pytest.mark.parametrize(("name", "more", "width"), [("desktop", {}, 1280), ("phone", PHONE, 390)])
async def test_a_dropped_recording_becomes_a_transcript(
    site: Site, service: None, name: str, more: dict[str, object], width: int
) -> None:
    # Given the page, when somebody chooses a recording of two people
    seen = await site.visit("recording", name=name, more=more, file=str(TWO_READERS))
    # Then its text appears, and then its transcript with its speakers and a player
    assert seen["complaints"] == []
    assert seen["speakers"] == ["SPEAKER_00", "SPEAKER_01"]
    assert "John Dashwood" in " ".join(seen["lines"])
    assert seen["audio"] == "blob:"
    # And nobody scrolls sideways
    assert seen["widths"] == [width] * 3
    # And after a reload its address still shows it, with the recording from the bucket
    assert seen["again"] == {name: seen[name] for name in ("speakers", "lines", "audio")}
    assert seen["names"] == ["Name SPEAKER_00 …", "Name SPEAKER_01 …"]
