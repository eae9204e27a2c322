"""All channels of the service: the source of the AsyncAPI document."""

from collections.abc import Callable, Mapping
from typing import Any

from faststream.nats import NatsBroker, NatsRouter
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.kinds import Result
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.schemas.wire import Kind

from handlers import accepted_tasks, dead_letters, replies, requests, sharing

ANSWERS: Mapping[str, Callable[..., Any]] = {  # `...`: handlers differ in their parameters
    route.subject: route.handler for routes in (requests.router, dead_letters.router) for route in routes
}


def stored_tasks() -> NatsRouter:
    """Subscribe to copies of the tasks that the task stream has stored."""
    router = NatsRouter(middlewares=[replies.ignore_invalid])
    accepted_tasks.router.subscribe(router)
    return router


def offered_windows() -> NatsRouter:
    """Subscribe to other workers' offers of windows."""
    router = NatsRouter(middlewares=[replies.ignore_invalid])
    router.subscriber(subjects.WINDOWS_OFFERED, no_reply=True)(sharing.offered)
    return router


def answers() -> NatsRouter:
    """Subscribe to requests; a request whose reply subject is an inbox gets a reply or an error."""
    router = NatsRouter(middlewares=[replies.InboxesOnly, replies.reply_with_errors])
    requests.router.subscribe(router)
    dead_letters.router.subscribe(router)
    return router


def published_messages(broker: NatsBroker) -> None:
    """Declare the messages that the task log publishes, for the AsyncAPI document only."""
    for channel, schema in (
        (subjects.PROGRESS_CHANNEL, ProgressEvent),
        (subjects.SEGMENTS_CHANNEL, SegmentsEvent),
        (subjects.RESULTS_CHANNEL, Result),
        (subjects.dead_letters(Kind.TRANSCRIPTION), DeadLetter),
        (subjects.dead_letters(Kind.DIARIZATION), DeadLetter),
    ):
        broker.publisher(channel, schema=schema, title=channel)
