"""Configurations of the streams, consumers and buckets that clients use, which the service and the mock create.

Each stream has a setting that cannot be revoked: `deny_delete` where the service purges by subject, `deny_purge` where
it deletes single messages. nats-server refuses every update that omits this setting. So a client that declares one of
the streams by its name, with a different configuration, cannot change it.
"""

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
from natscribe.schemas.live import MAX_FRAME_BYTES
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.task_fields import MAX_AHEAD
from natscribe.schemas.wire import MAX_KEEP_S, Kind, Priority, TaskType

DAY_S = 24 * 3600.0
TASK_TTL_S = 7 * DAY_S  # how long a task may wait, from its `not_before` on, before it fails
STORED_TASK_TTL_S = MAX_AHEAD.total_seconds() + TASK_TTL_S  # the longest time that the queue has to store a task
RESULTS_TTL_S = float(MAX_KEEP_S)
DEAD_LETTERS_TTL_S = 30 * DAY_S
ERASED_TTL_S = 30 * DAY_S
UNUSED_UPLOADS_TTL_S = 90 * DAY_S  # added to AUDIO_TTL: how long the bucket retains a recording that no task has used
RESULTS_BUCKET = "results"
DUPLICATE_WINDOW_S = 120.0  # the default of nats-server, repeated here because the AsyncAPI document names the value
BUCKET_SCHEME = "nats://"  # of an AUDIO_STORE that is a bucket

# Defaults of the service's settings
QUEUE_LENGTH = 10_000  # tasks in one task queue
AUDIO_TTL_S = 30 * DAY_S
ACK_WAIT_S = 15.0
LIVE_TTL_S = DAY_S
# No limit, because NATS reserves the bytes of a limit, and refuses the stream if its disk is smaller.
LIVE_MAX_BYTES = 0
MAX_WAITING = 10_000  # open pulls of one consumer: each idle worker has one, and JetStream ignores those above
_FRAME_HEADER_BYTES = 4096  # room for the headers of a frame, which JetStream counts

LIVE_ACK_WAIT_S = 3.5  # people wait for the text, so a worker of a live task counts as dead sooner


def task_subjects() -> list[str]:
    """Return the subjects of all task queues, `tasks.<type>.<priority>`."""
    return [subjects.tasks(task_type, priority) for priority in Priority for task_type in TaskType]


def public_streams(
    names: StreamNames,
    *,
    queue_length: int = QUEUE_LENGTH,
    live_ttl_s: float = LIVE_TTL_S,
    live_max_bytes: int = LIVE_MAX_BYTES,
    erased_ttl_s: float = ERASED_TTL_S,
) -> Iterator[StreamConfig]:
    """Yield the configurations of the streams that clients use.

    `queue_length`: the largest number of tasks in each task queue. `live_ttl_s`: for how many seconds an audio frame is
    stored. `live_max_bytes`: the largest size of all audio frames together, in bytes; 0: no limit.
    `erased_ttl_s`: for how many seconds the event that a task was erased is stored.
    """
    yield stream_config(
        names.tasks,
        task_subjects(),
        STORED_TASK_TTL_S + DAY_S,
        retention=RetentionPolicy.WORK_QUEUE,
        discard=DiscardPolicy.NEW,
        discard_new_per_subject=True,  # without this, a full queue would drop its oldest task silently
        max_msgs_per_subject=queue_length,
        republish=RePublish(src=subjects.ALL_TASKS, dest=subjects.ALL_ACCEPTED),
        deny_purge=True,
    )
    yield _log(names.progress, subjects.progress("*"), 8 * DAY_S)
    yield _log(names.segments, subjects.segments("*"), 8 * DAY_S)
    yield _log(names.speakers, subjects.speakers("*"), 8 * DAY_S)
    results = _log(names.results, subjects.results("*"), RESULTS_TTL_S)
    results.subjects = [subjects.append_to(subjects.results("*")), subjects.append_to(subjects.no_results("*"))]
    # This stores results as `results.*`, and outcomes without a result as `no_results.*`.
    results.subject_transform = SubjectTransform(src=subjects.append_to("*.*"), dest="{{wildcard(1)}}.{{wildcard(2)}}")
    yield results
    erased = _log(names.erased, subjects.erased("*"), erased_ttl_s)
    erased.duplicate_window = DAY_S  # an erasure that is repeated after an outage stores no second event
    erased.deny_delete, erased.deny_purge = False, True  # the events that name a deleted user are replaced
    yield erased
    letters = _log(names.dead_letters, subjects.dead_letters("*"), DEAD_LETTERS_TTL_S)
    letters.subjects = [subjects.append_to(subjects.dead_letters(kind)) for kind in Kind]
    letters.duplicate_window = TASK_TTL_S + DAY_S  # a message that is delivered again stores no second dead letter
    letters.deny_delete, letters.deny_purge = False, True
    yield letters
    yield stream_config(
        names.live,
        [subjects.live_audio("*")],
        live_ttl_s,
        discard=DiscardPolicy.NEW,  # a full stream refuses new audio instead of dropping unprocessed frames
        max_bytes=live_max_bytes or -1,
        max_msg_size=MAX_FRAME_BYTES + _FRAME_HEADER_BYTES,
        deny_delete=True,
    )


def _log(name: str, subject: str, max_age: float) -> StreamConfig:
    """Return the configuration of a stream to which only the service can write: clients may only read `subject`.

    The service publishes a message on `append.SUBJECT`; the stream stores the message under SUBJECT, and republishes it
    there. `max_age`: for how many seconds messages are stored.
    """
    stored = subject.replace("*", "{{wildcard(1)}}")
    return stream_config(
        name,
        [subjects.append_to(subject)],
        max_age,
        subject_transform=SubjectTransform(src=subjects.append_to(subject), dest=stored),
        republish=RePublish(src=subject, dest=stored),
        discard=DiscardPolicy.OLD,
        deny_delete=True,
    )


def stream_config(name: str, stream_subjects: list[str], max_age: float = 0.0, **own: object) -> StreamConfig:
    """Return the configuration of a stream: the defaults of all streams, with the options `own` of this stream.

    `max_age`: for how many seconds messages are stored; 0: for ever.
    """
    return StreamConfig(
        name=name,
        subjects=stream_subjects,
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        max_age=max_age,
        duplicate_window=DUPLICATE_WINDOW_S,
        allow_direct=True,
    ).evolve(**own)


def stored_subjects(config: StreamConfig) -> list[str]:
    """Return the subjects under which a stream stores its messages, after its subject transform."""
    return [subject.removeprefix(subjects.append_to("")) for subject in config.subjects or []]


def durable(
    name: str, subject: str, *, ack_wait_s: float, begin_with: DeliverPolicy = DeliverPolicy.ALL
) -> ConsumerConfig:
    """Return the configuration of a durable pull consumer, which redelivers each message until it is acknowledged.

    `subject`: the consumer delivers only messages on this subject. `ack_wait_s`: after how many seconds without an
    acknowledgement a message is redelivered. `begin_with`: which messages a new consumer delivers of those that are
    already in the stream; by default all.
    """
    return ConsumerConfig(
        durable_name=name,
        filter_subject=subject,
        deliver_policy=begin_with,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ack_wait_s,
        max_waiting=MAX_WAITING,
        max_ack_pending=-1,  # no limit: tasks that wait for a retry must not block their queue
        max_deliver=-1,  # no limit: JetStream would never deliver a message again that has reached its limit
    )


def bucket_configs(audio_store: str, *, audio_ttl_s: float = AUDIO_TTL_S) -> Iterator[ObjectStoreConfig]:
    """Yield the configurations of the Object Store buckets: for large results, and for recordings if stored in NATS.

    `audio_store`: the setting AUDIO_STORE. `audio_ttl_s`: for how many seconds a recording is retained after the
    end of its task; 0: without limit.
    """
    yield ObjectStoreConfig(bucket=RESULTS_BUCKET, ttl=RESULTS_TTL_S)
    if audio_store.startswith(BUCKET_SCHEME):
        ttl = audio_ttl_s + UNUSED_UPLOADS_TTL_S if audio_ttl_s else None
        yield ObjectStoreConfig(bucket=audio_store.removeprefix(BUCKET_SCHEME), ttl=ttl)


def bucket_stream(bucket: ObjectStoreConfig) -> StreamConfig:
    """Return the configuration of an Object Store bucket's stream: as NATS clients create it, plus `deny_delete`."""
    return stream_config(
        f"OBJ_{bucket.bucket}",
        [f"$O.{bucket.bucket}.C.>", f"$O.{bucket.bucket}.M.>"],
        bucket.ttl or 0,
        discard=DiscardPolicy.NEW,
        num_replicas=bucket.replicas,
        allow_rollup_hdrs=True,
        deny_delete=True,
    )
