"""Routes: the handlers of a module, each with its subject; each worker makes a subscriber of each handler.

FastStream's documentation has `@router.subscriber(subject)` above a handler. A `NatsRouter` cannot be used so: it
belongs to one broker, the last that includes it (docs/upstream.md), and several workers, each with a broker of its own,
may run in one process. So `Routes.subscriber` only notes the handler, and `Routes.subscribe` makes the subscribers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Unpack

from faststream.nats import NatsRouter


class Options(TypedDict, total=False):
    """The options of FastStream's subscribers that handlers choose."""

    queue: str
    max_workers: int
    pending_msgs_limit: int
    no_reply: bool


@dataclass(frozen=True, slots=True)
class Route:
    """A handler, the subject whose messages it handles, and the options of its subscriber."""

    subject: str
    handler: Callable[..., Any]  # `...`: handlers differ in their parameters
    options: Options


Handler = TypeVar("Handler", bound=Callable[..., Any])  # `...`: as above


class Routes:
    """The handlers of one module."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def subscriber(self, subject: str, **options: Unpack[Options]) -> Callable[[Handler], Handler]:
        """Note that the function below handles the messages of a subject; the options are FastStream's."""

        def note(handler: Handler) -> Handler:
            self._routes.append(Route(subject, handler, options))
            return handler

        return note

    def subscribe(self, router: NatsRouter) -> None:
        """Make a subscriber of each handler, on the router of one worker."""
        for route in self._routes:
            router.subscriber(route.subject, **route.options)(route.handler)
