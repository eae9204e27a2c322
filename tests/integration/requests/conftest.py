"""Suspends calls of a worker's methods, so that a test decides what happens meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.runtime.cancellation import despite_cancellation


class Held:
    """The calls of a method: `waits` is set when one has begun, and `may_go` lets it continue."""

    def __init__(self) -> None:
        self.waits, self.may_go = asyncio.Event(), asyncio.Event()


Hold = Callable[..., Held]


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Suspend the calls of `owner.name`, or only those with an argument `of`; a cancelled call still completes."""

    def hold(owner: object, name: str, of: object = None) -> Held:
        held, method = Held(), getattr(owner, name)

        async def call(*arguments: Any) -> object:
            if of is None or of in arguments:
                held.waits.set()
                await despite_cancellation(held.may_go.wait())
            return await method(*arguments)

        monkeypatch.setattr(owner, name, call)
        return held

    return hold
