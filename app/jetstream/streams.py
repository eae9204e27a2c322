"""The names and configurations that streams, consumers and buckets should have."""

from collections.abc import Iterator

from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    ObjectStoreConfig,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    SubjectTransform,
)
from natscribe.schemas import subjects
from natscribe.schemas.wire import Kind, Priority

from app.settings import Settings

DAY_S = 24 * 3600.0
EXPIRES_AFTER_S = 7 * DAY_S  # how long a task may wait before it fails
RESULTS_KEPT_S = 7 * DAY_S
LETTERS_KEPT_S = 30 * DAY_S
UPLOADS_KEPT_S = 90 * DAY_S  # added to AUDIO_TTL: how long the bucket keeps a recording that no task has used
RESULTS_BUCKET = "results"
DUPLICATE_WINDOW_S = 120.0  # the default of nats-server, repeated here because the AsyncAPI document names the value


def task_subjects() -> list[str]:
    """Return the subjects of the six task queues."""
    return [subjects.tasks(kind, priority) for priority in Priority for kind in Kind]


def stream_configs(settings: Settings) -> Iterator[StreamConfig]:
    """Yield the configurations that the streams should have."""
    for stream in _streams(settings):
        stream.num_replicas = settings.nats_replicas
        yield stream


def _streams(settings: Settings) -> Iterator[StreamConfig]:
    called = settings.stream_names
    yield StreamConfig(
        name=called.tasks,
        subjects=task_subjects(),
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        discard_new_per_subject=True,  # without this, a full queue would drop its oldest task silently
        max_msgs_per_subject=settings.nats_max_msgs_per_subject,
        max_age=EXPIRES_AFTER_S + DAY_S,
        duplicate_window=DUPLICATE_WINDOW_S,
        republish=RePublish(src=subjects.ALL_TASKS, dest=subjects.ALL_ACCEPTED),
        allow_direct=True,
    )
    yield _log(called.progress, subjects.ALL_PROGRESS, 8 * DAY_S)
    yield _log(called.segments, subjects.ALL_SEGMENTS, 8 * DAY_S)
    results = _log(called.results, subjects.ALL_RESULTS, RESULTS_KEPT_S)
    results.subjects = [subjects.append_to(subjects.ALL_RESULTS), subjects.append_to(subjects.ALL_NO_RESULTS)]
    # This stores results as `results.*`, and outcomes without a result as `no_results.*`.
    results.subject_transform = SubjectTransform(src=subjects.append_to("*.*"), dest="{{wildcard(1)}}.{{wildcard(2)}}")
    yield results
    letters = _log(called.dead_letters, subjects.ALL_DEAD_LETTERS, LETTERS_KEPT_S)
    letters.subjects = [subjects.append_to(subjects.dead_letters(kind)) for kind in Kind]
    letters.duplicate_window = EXPIRES_AFTER_S + DAY_S  # a message that is delivered again stores no second dead letter
    yield letters
    yield StreamConfig(
        name=called.retention,
        subjects=[subjects.ALL_REMINDERS, subjects.ALL_DUE],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        duplicate_window=DUPLICATE_WINDOW_S,
        allow_msg_schedules=True,
        allow_rollup_hdrs=True,  # nats-server turns this on in a stream with schedules
        allow_direct=True,
    )


def _log(name: str, subject: str, max_age: float) -> StreamConfig:
    """Make the configuration of a stream whose stored messages JetStream republishes on `subject`.

    Only the service may publish to the stream's append subjects.
    """
    stored = subject.replace("*", "{{wildcard(1)}}")
    return StreamConfig(
        name=name,
        subjects=[subjects.append_to(subject)],
        subject_transform=SubjectTransform(src=subjects.append_to(subject), dest=stored),
        republish=RePublish(src=subject, dest=stored),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=max_age,
        duplicate_window=DUPLICATE_WINDOW_S,
        allow_direct=True,
    )


def stored_subjects(config: StreamConfig) -> list[str]:
    """Return the subjects on which a stream stores its messages."""
    return [subject.removeprefix(subjects.append_to("")) for subject in config.subjects or []]


def consumer_configs(settings: Settings) -> Iterator[tuple[str, ConsumerConfig]]:
    """Yield the configurations that the durable consumers should have, each with the name of its stream.

    A consumer without a number of replicas has as many as its stream, also after the stream is edited.
    """
    called = settings.stream_names
    for priority in Priority:
        for kind in Kind:
            yield (
                called.tasks,
                _durable(called.queue_consumer(kind, priority), subjects.tasks(kind, priority), settings),
            )
    for stream, durable, subject in (
        (called.progress, called.progress_projection, subjects.ALL_PROGRESS),
        (called.results, called.results_projection, subjects.ALL_RESULTS),
    ):
        yield stream, _durable(durable, subject, settings, begin_with=DeliverPolicy.LAST_PER_SUBJECT)
    ended = _durable(called.ended_tasks, subjects.ALL_OUTCOMES, settings)
    ended.headers_only = True  # the headers name the task; a result may have the largest allowed size of a message
    yield called.results, ended
    yield called.retention, _durable(called.due_reminders, subjects.ALL_DUE, settings)


def _durable(
    name: str, subject: str, settings: Settings, *, begin_with: DeliverPolicy = DeliverPolicy.ALL
) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=name,
        filter_subject=subject,
        deliver_policy=begin_with,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=settings.task_ack_wait,
        max_ack_pending=-1,  # no limit: tasks that wait for a retry must not block their queue
        max_deliver=-1,  # no limit: JetStream would keep a message past its limit undelivered for ever
    )


def bucket_configs(settings: Settings) -> Iterator[ObjectStoreConfig]:
    """Yield the configurations that the Object Store buckets should have."""
    yield ObjectStoreConfig(bucket=RESULTS_BUCKET, ttl=RESULTS_KEPT_S, replicas=settings.nats_replicas)
    if settings.audio_store.startswith("nats://"):
        bucket = settings.audio_store.removeprefix("nats://")
        ttl = settings.audio_ttl + UPLOADS_KEPT_S if settings.audio_ttl else None
        yield ObjectStoreConfig(bucket=bucket, ttl=ttl, replicas=settings.nats_replicas)
