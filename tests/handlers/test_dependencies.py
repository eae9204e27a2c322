"""A handler's parameter that asks for a wrong or missing component is an error of mypy, and of the worker's start."""

from collections.abc import Callable

import pytest
from fast_depends import Provider
from faststream.nats import NatsBroker

from app.speech.diarizer import Diarizer
from app.speech.window_sharing.sharing import WorkSharing
from handlers.channels import HANDLERS
from handlers.dependencies import part, provide
from tests.fakes.parts import Parts, provisioned


async def wrong(diarizer: Diarizer = part(lambda worker: worker.transcriber)) -> None:  # type: ignore[assignment]  # mypy sees it
    """A handler that asks for another component than its parameter's type."""


async def missing(diarizer: Diarizer = part(lambda worker: worker.diariser)) -> None:  # type: ignore[attr-defined]  # mypy sees it
    """A handler that asks for a component that does not exist."""


async def unread(sharing: WorkSharing) -> None:
    """A handler that does not say where its component is."""


async def test_a_worker_has_the_components_that_its_handlers_need() -> None:
    provide(NatsBroker(provider=Provider()), Parts(await provisioned()), HANDLERS)


@pytest.mark.parametrize(
    ("handler", "error", "named"),
    [
        (wrong, TypeError, "wrong: `diarizer`"),
        (missing, AttributeError, "diariser"),
        (unread, TypeError, "unread: `sharing`"),
    ],
)
async def test_a_handler_that_needs_another_component_ends_the_start(
    handler: Callable[..., object], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        provide(NatsBroker(provider=Provider()), Parts(await provisioned()), [handler])
