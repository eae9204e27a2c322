"""Which handler hears which subject, and what the service says where: the source of the AsyncAPI document."""

from collections.abc import Callable, Mapping
from typing import Any

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsRouter, PullSub

from app.queue.consumer import TaskSubscribers
from handlers import dead_letters, diarization, queue, replies, requests, sharing, transcription
from schemas import subjects
from schemas.dead_letters import DeadLetter
from schemas.diarization import DiarizationResult
from schemas.progress import ProgressEvent
from schemas.stream_names import StreamNames
from schemas.transcription import SegmentsEvent, TranscriptionResult
from schemas.wire import Kind, Priority

QUEUE_GROUP = "natscribe"  # the queue group: one worker answers
ANSWERS_AT_ONCE = 16  # of one kind: one that takes long keeps nobody else waiting


_WORK: dict[Kind, Callable[..., Any]] = {  # handlers differ in their arguments
    Kind.TRANSCRIPTION: transcription.transcribe,
    Kind.DIARIZATION: diarization.diarize,
}
_ACCEPT: dict[Kind, Callable[..., Any]] = {
    Kind.TRANSCRIPTION: queue.accept_transcription,
    Kind.DIARIZATION: queue.accept_diarization,
}
ANSWERS: Mapping[str, Callable[..., Any]] = {  # what each returns is what the reply holds
    subjects.STATUS: requests.status,
    subjects.RESULT: requests.result,
    subjects.CANCEL: requests.cancel,
    subjects.DELETE: requests.delete,
    subjects.REPLAY: dead_letters.replay,
    subjects.DELETE_LETTERS: dead_letters.delete,
}


def task_queues(router: NatsRouter, names: StreamNames) -> TaskSubscribers:
    """Consume the six task queues, in the order of priorities."""
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


def accepted_tasks() -> NatsRouter:
    """Hear what the task stream has stored."""
    router = NatsRouter(middlewares=[replies.ignore_invalid])
    for kind in Kind:
        router.subscriber(
            subjects.accepted(kind),
            queue=QUEUE_GROUP,
            no_reply=True,
        )(_ACCEPT[kind])
    return router


def offered_windows() -> NatsRouter:
    """Hear which worker could do with help: each idle one does."""
    router = NatsRouter(middlewares=[replies.ignore_invalid])
    router.subscriber(subjects.WINDOWS_OFFERED, no_reply=True)(sharing.offered)
    return router


def answers() -> NatsRouter:
    """Answer requests, each with a reply or an error, never with silence, as long as there is an inbox for it."""
    router = NatsRouter(middlewares=[replies.InboxesOnly, replies.tell_errors])
    for subject, handler in ANSWERS.items():
        router.subscriber(subject, queue=QUEUE_GROUP, max_workers=ANSWERS_AT_ONCE)(handler)
    return router


def published_messages(broker: NatsBroker) -> None:
    """Declare what the service publishes, for the document; the task log is what writes it."""
    for channel, schema in (
        (subjects.PROGRESS_CHANNEL, ProgressEvent),
        (subjects.SEGMENTS_CHANNEL, SegmentsEvent),
        (subjects.RESULTS_CHANNEL, TranscriptionResult | DiarizationResult),
        (subjects.dead_letters(Kind.TRANSCRIPTION), DeadLetter),
        (subjects.dead_letters(Kind.DIARIZATION), DeadLetter),
    ):
        broker.publisher(channel, schema=schema, title=channel)
