"""All channels of the service: the source of the AsyncAPI document."""

from collections.abc import Callable
from typing import Any

from faststream.nats import NatsBroker, NatsRouter
from faststream.nats.subscriber.usecases import LogicSubscriber
from nats.aio.msg import Msg
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.kinds import Result
from natscribe.schemas.live import Partial
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.schemas.voices import Forgotten
from natscribe.schemas.wire import Kind

from handlers import accepted_tasks, dead_letters, replies, requests, voices, windows

ANSWERS: dict[str, Callable[..., Any]] = {  # `...`: handlers differ in their parameters
    route.subject: route.handler for routes in (requests.router, dead_letters.router, voices.router) for route in routes
}
READ = {subjects.LIVE_AUDIO_CHANNEL: bytes}  # read page by page from a stream: there is no subscriber
REPLIES = ANSWERS | {subjects.WINDOWS_CHANNEL: windows.transcribe_window}


def stored_tasks() -> NatsRouter:
    """Make a router that subscribes to the copies of the tasks that the task stream has stored."""
    router = NatsRouter(middlewares=[replies.ignore_invalid])
    accepted_tasks.router.subscribe(router)
    return router


def windows_of_others(router: NatsRouter, engine: str) -> LogicSubscriber[Msg]:
    """Make the subscriber to windows of other workers; `engine` is a hash of the settings that both workers share."""
    subscriber = router.subscriber(
        subjects.windows(engine), queue=subjects.QUEUE_GROUP, max_workers=replies.ANSWERS_AT_ONCE
    )
    subscriber(windows.transcribe_window)
    return subscriber


def router_of_requests() -> NatsRouter:
    """Make a router for requests; a request whose reply subject is an inbox gets a reply or an error."""
    return NatsRouter(middlewares=[replies.InboxesOnly, replies.reply_with_errors])


def answers() -> NatsRouter:
    """Make a router that subscribes to the requests of clients."""
    router = router_of_requests()
    requests.router.subscribe(router)
    dead_letters.router.subscribe(router)
    voices.router.subscribe(router)
    return router


def published_messages(broker: NatsBroker) -> None:
    """Declare, for the AsyncAPI document only, the messages that the service publishes and no handler returns."""
    for channel, schema in (
        (subjects.PROGRESS_CHANNEL, ProgressEvent),
        (subjects.SEGMENTS_CHANNEL, SegmentsEvent),
        (subjects.RESULTS_CHANNEL, Result),
        (subjects.PARTIALS_CHANNEL, Partial),
        (subjects.FORGOTTEN_CHANNEL, Forgotten),
        (subjects.dead_letters(Kind.TRANSCRIPTION), DeadLetter),
        (subjects.dead_letters(Kind.DIARIZATION), DeadLetter),
    ):
        broker.publisher(channel, schema=schema, title=channel)
