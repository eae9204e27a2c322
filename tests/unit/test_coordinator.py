"""The coordinator: how many may help."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from natscribe.schemas.sharing import WindowsOffered

from app.work_sharing.coordinator import MOST_HELPERS, Coordinator
from tests.fakes.engine import MODEL
from tests.waiting import eventually

OFFER = WindowsOffered(run="a" * 32, owner="b" * 32, model=MODEL, how="alike")


async def _send(_: str, __: bytes) -> None:
    """There is no such worker."""


@pytest.fixture
def offers() -> list[WindowsOffered]:
    return []


@pytest.fixture
async def coordinator(offers: list[WindowsOffered], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Coordinator]:
    monkeypatch.setattr("app.work_sharing.coordinator.FIRST_PAUSE_S", 0.01)

    async def publish(offer: WindowsOffered) -> None:
        offers.append(offer)

    found = Coordinator(OFFER, publish, _send)
    yield found
    await found.close()


async def test_no_more_help_than_may_hold_batches_at_once(
    coordinator: Coordinator, offers: list[WindowsOffered]
) -> None:
    # Given as many helpers as there may be, one of which has volunteered twice
    for number in (0, *range(MOST_HELPERS)):
        coordinator.add(f"helper-{number}")
    # When one more comes
    coordinator.add("one-more")
    # Then it is not asked, and no helper is looked for
    helpers = [await asyncio.wait_for(coordinator.next_helper(), 5) for _ in range(MOST_HELPERS)]
    assert len({id(helper) for helper in helpers}) == MOST_HELPERS
    next_one = asyncio.create_task(coordinator.next_helper())
    coordinator.update(wanted=True, batch_seconds=1)
    for _ in range(10):  # turns of the loop, in which all that is awaited would have happened
        await asyncio.sleep(0)
    assert (next_one.done(), offers) == (False, [])
    # Until one of them leaves
    coordinator.remove("helper-0")
    coordinator.update(wanted=True, batch_seconds=1)

    async def is_asked_again() -> bool:
        return bool(offers)

    await eventually(is_asked_again)
    coordinator.add("one-more")
    await asyncio.wait_for(next_one, 5)
