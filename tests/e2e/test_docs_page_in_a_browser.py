"""The page that shows the document, in a real browser."""

import os
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray

from app.command.embedded import free_port
from tests.contract.test_docs_page import Site
from tests.document import DOCUMENT
from tests.e2e.browser import NEEDS_CHROMIUM, driven_by
from tests.waiting import eventually

PICTURES = Path(__file__).parent / "docs_page"  # `make pictures` takes them again
TALLEST_PX = 1_258  # for each operation, at a width of 1280: a third of what a viewer from outside needed
USABLE_WITHIN_S = 4.0  # beside other tests; alone it takes a third of a second
CELL_PX = 50  # pictures are compared by the mean colours of squares of this size: no font matters so much
UNLIKE = 15  # of 255: two means of a square that differ by more
BROKEN = 0.2  # share of unlike squares: other fonts reach 0.12, a page without its contents or its style sheet 0.28


@pytest.fixture
async def url() -> AsyncIterator[str]:
    config = uvicorn.Config(Site(), port=free_port(), lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)  # the browser blocks the loop of this thread
    thread.start()
    await eventually(lambda: server.started)
    yield f"http://127.0.0.1:{config.port}/docs"
    server.should_exit = True
    thread.join()


@NEEDS_CHROMIUM
def test_a_person_reads_the_page_in_a_browser(url: str, tmp_path: Path) -> None:
    # Given the page in a real browser, wide and narrow, light and dark
    observed = driven_by("browse.mjs", url, tmp_path)
    # Then there are no errors, and no requests to another host
    assert observed["complaints"] == []
    assert {urlsplit(requested_url).netloc for requested_url in observed["requested"]} == {urlsplit(url).netloc}
    # And each link of the contents leads to what it names, also to what is behind a click
    assert observed["dead"] == []
    # And the page is not long, and there is no horizontal scrolling
    assert observed["wide"]["height"] <= TALLEST_PX * len(DOCUMENT["operations"])
    assert (observed["wide"]["width"], observed["narrow"]["width"]) == (1280, 400)
    # And a search leaves what has all its words, with the words in sight
    search = observed["searches"]["keep_seconds"]
    assert {"submitTranscription", "submitDiarization"} <= set(search["parts"])
    assert "followProgress" not in search["parts"]
    assert search["links"] == [f"#{part}" for part in search["parts"]]
    assert search["marksInSight"]
    assert "transcribeWindow" in observed["searches"]["IDLE workers"]["parts"]
    assert observed["searches"]["xyzzy"] == {"parts": [], "links": [], "marksInSight": False, "nothing": True}
    # And on a phone the contents open over whatever part of the page is in sight, and lead on
    phone = observed["phone"]
    assert phone["scrolled"] > 2 * phone["window"][0]
    assert phone["contents"] == [0, *phone["window"]]
    assert phone["isHit"]
    assert phone["led"] == {"isOpen": False, "isInSight": True}
    # And the page looks as in the reference picture, and a broken page does not
    for name in ("wide-light", "wide-dark", "narrow-light", "narrow-dark"):
        reference, taken = PICTURES / f"{name}.webp", tmp_path / f"{name}.webp"
        if "RENEW_PICTURES" in os.environ:
            shutil.copy(taken, reference)
        assert _unlike(reference, taken) < BROKEN, name
    for broken in tmp_path.glob("*-without-*.webp"):
        assert _unlike(PICTURES / f"{broken.stem.partition('-without-')[0]}.webp", broken) > BROKEN, broken.name
    # And it is there soon
    print(f"the page is usable after {min(observed['usableAfter']):.2f} s")
    assert min(observed["usableAfter"]) < USABLE_WITHIN_S


def _unlike(one: Path, other: Path) -> float:
    """The share of squares whose mean colours differ."""
    differences = np.abs(_means(one) - _means(other)).max(axis=2)
    return float((differences > UNLIKE).mean())


def _means(picture: Path) -> NDArray[np.float64]:
    """The mean colours of the squares of a picture: rows, columns, red with green and blue."""
    with av.open(str(picture)) as opened:
        pixels = next(opened.decode(video=0)).to_ndarray(format="rgb24").astype(np.float64)
    rows, columns = pixels.shape[0] // CELL_PX, pixels.shape[1] // CELL_PX
    squares = pixels[: rows * CELL_PX, : columns * CELL_PX].reshape(rows, CELL_PX, columns, CELL_PX, 3)
    means: NDArray[np.float64] = squares.mean(axis=(1, 3))
    return means
