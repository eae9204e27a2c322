"""Declares the channels on which a worker subscribes.

A `NatsRouter` belongs to one broker, the last that includes it (docs/upstream.md), and several workers, each with a
broker of its own, may run in one process. So modules list their handlers as `NatsRoute`s, from which each worker
creates routers of its own.
"""

from collections.abc import Callable
from functools import partial

from faststream.nats import NatsBroker, NatsRoute, NatsRouter
from faststream.nats.subscriber.usecases import LogicSubscriber
from nats.aio.msg import Msg
from natscribe.schemas import subjects

from app.requests.discovery import ServiceInstance
from app.settings import Settings
from app.speech.window_sharing.sharing import engine_hash
from app.storage.jetstream.channels import WINDOWS
from handlers import accepted_tasks, dead_letters, discovery, replies, requests, tasks, voices
from handlers.windows import transcribe_window

REQUESTS = (*requests.ROUTES, *dead_letters.ROUTES, *voices.ROUTES)
HANDLERS: tuple[Callable[..., object], ...] = (  # `...`: handlers differ in their parameters
    *tasks.HANDLERS.values(),
    transcribe_window,
    *(route.call for route in (*REQUESTS, *accepted_tasks.ROUTES)),
)


def subscribe(broker: NatsBroker, settings: Settings, instance: ServiceInstance) -> LogicSubscriber[Msg]:
    """Declare all channels of a worker but its task slots on a broker that is not connected yet.

    Return the subscriber to requests to transcribe windows, i.e. parts of recordings, for other workers.
    """
    windows, discovering = request_router(instance), request_router(instance)
    discovery.subscribe(discovering, instance)
    subscriber = shared_windows(windows, engine_hash(settings))
    broker.include_routers(accepted_router(), request_router(instance, *REQUESTS), windows, discovering)
    return subscriber


def accepted_router() -> NatsRouter:
    """Create the router that subscribes to accepted tasks: copies that JetStream republishes once tasks are stored.

    Its handler appends the first event to the log of each task. It ignores invalid tasks.
    """
    return NatsRouter(handlers=accepted_tasks.ROUTES, middlewares=[replies.ignore_invalid])


def request_router(instance: ServiceInstance, *routes: NatsRoute) -> NatsRouter:
    """Create a router of request handlers, whose requests `instance` counts.

    A handler that fails replies with an error. Requests whose reply subject is not an inbox are ignored.
    """
    counting = partial(replies.CountRequests, instance)
    return NatsRouter(handlers=routes, middlewares=[replies.InboxesOnly, replies.reply_with_errors, counting])


def shared_windows(router: NatsRouter, engine: str) -> LogicSubscriber[Msg]:
    """Declare the subscriber to requests to transcribe windows, i.e. parts of recordings, for other workers.

    `engine`: a hash of the engine settings; only workers with the same settings get each other's requests.
    """
    subscriber = router.subscriber(
        subjects.windows(engine),
        queue=WINDOWS.group,
        max_workers=replies.MAX_CONCURRENT_REQUESTS,
        title=WINDOWS.title,
    )
    subscriber(transcribe_window)
    return subscriber
