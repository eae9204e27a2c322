"""Connect handlers to their subjects, and declare what the service publishes: the source of the AsyncAPI document."""

from collections.abc import Callable
from typing import Any

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsRouter, PullSub
from faststream.nats.subscriber.usecases import LogicSubscriber
from nats.aio.msg import Msg
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.diarization import DiarizationResult
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult
from natscribe.schemas.wire import Kind, Priority

from app.queue.consumer import TaskSubscribers
from handlers import accepted_tasks, dead_letters, diarization, replies, requests, sharing, transcription

ANSWERS_AT_ONCE = 64  # requests on one subject that are answered at the same time: a slow reply delays no other reply
WINDOWS_AT_ONCE = 2  # windows of other workers: a task of this worker waits for no more than these


_WORK: dict[Kind, Callable[..., Any]] = {  # `...`: the handlers differ in their parameters
    Kind.TRANSCRIPTION: transcription.transcribe,
    Kind.DIARIZATION: diarization.diarize,
}
_ACCEPT: dict[Kind, Callable[..., Any]] = {
    Kind.TRANSCRIPTION: accepted_tasks.accept_transcription,
    Kind.DIARIZATION: accepted_tasks.accept_diarization,
}
ANSWERS: dict[str, Callable[..., Any]] = {  # the reply to a request is what its handler returns
    subjects.STATUS: requests.status,
    subjects.RESULT: requests.result,
    subjects.LIST: requests.list_tasks,
    subjects.QUEUE: requests.queue,
    subjects.WORKERS: requests.worker,
    subjects.CANCEL: requests.cancel,
    subjects.DELETE: requests.delete,
    subjects.REPLAY: dead_letters.replay,
    subjects.DELETE_LETTERS: dead_letters.delete,
}
REPLIES = ANSWERS | {subjects.WINDOWS_CHANNEL: sharing.transcribe_window}
EACH_WORKER_ANSWERS = frozenset({subjects.WORKERS})  # one worker answers each other request


def task_queues(router: NatsRouter, names: StreamNames) -> TaskSubscribers:
    """Subscribe to the six task queues, and return the subscribers from high to low priority."""
    queues: TaskSubscribers = {}
    for priority in Priority:
        for kind in Kind:
            subscriber = router.subscriber(
                subjects.tasks(kind, priority),
                stream=JStream(names.tasks, declare=False),
                durable=names.queue_consumer(kind, priority),
                pull_sub=PullSub(batch_size=1),
                ack_policy=AckPolicy.MANUAL,
                no_reply=True,
            )
            subscriber(_WORK[kind])
            queues[kind, priority] = subscriber
    return queues


def stored_tasks() -> NatsRouter:
    """Subscribe to copies of the tasks that the task stream has stored."""
    router = NatsRouter(middlewares=[replies.ignore_invalid])
    for kind in Kind:
        router.subscriber(
            subjects.accepted(kind),
            queue=subjects.QUEUE_GROUP,
            no_reply=True,
        )(_ACCEPT[kind])
    return router


def windows_of_others(router: NatsRouter, engine: str) -> LogicSubscriber[Msg]:
    """Subscribe to windows of other workers with the same engine, and return the subscriber."""
    subscriber = router.subscriber(subjects.windows(engine), queue=subjects.QUEUE_GROUP, max_workers=WINDOWS_AT_ONCE)
    subscriber(sharing.transcribe_window)
    return subscriber


def router_of_requests() -> NatsRouter:
    """Make a router for requests; a request whose reply subject is an inbox gets a reply or an error."""
    return NatsRouter(middlewares=[replies.InboxesOnly, replies.reply_with_errors])


def answers() -> NatsRouter:
    """Subscribe to the requests of clients."""
    router = router_of_requests()
    for subject, handler in ANSWERS.items():
        group = "" if subject in EACH_WORKER_ANSWERS else subjects.QUEUE_GROUP
        router.subscriber(subject, queue=group, max_workers=ANSWERS_AT_ONCE)(handler)
    return router


def published_messages(broker: NatsBroker) -> None:
    """Declare the messages that the task log publishes, for the AsyncAPI document only."""
    for channel, schema in (
        (subjects.PROGRESS_CHANNEL, ProgressEvent),
        (subjects.SEGMENTS_CHANNEL, SegmentsEvent),
        (subjects.RESULTS_CHANNEL, TranscriptionResult | DiarizationResult),
        (subjects.dead_letters(Kind.TRANSCRIPTION), DeadLetter),
        (subjects.dead_letters(Kind.DIARIZATION), DeadLetter),
    ):
        broker.publisher(channel, schema=schema, title=channel)
