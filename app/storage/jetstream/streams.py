"""The configurations that the service gives its streams, consumers and buckets."""

from collections.abc import Iterator

from nats.js.api import (
    ConsumerConfig,
    DeliverPolicy,
    ObjectStoreConfig,
    RePublish,
    RetentionPolicy,
    StreamConfig,
)
from natscribe.jetstream import streams
from natscribe.jetstream.streams import LIVE_ACK_WAIT_S, durable, public_streams
from natscribe.schemas import subjects
from natscribe.schemas.quotas import QUOTAS_BUCKET

from app.settings import Settings
from app.storage.jetstream import key_value
from app.storage.jetstream.slots import SlotPool


def stream_configs(settings: Settings) -> Iterator[StreamConfig]:
    """Yield the configurations of all streams except those that store the data of buckets."""
    names = settings.stream_names
    reminders = streams.stream_config(
        names.retention,
        [subjects.ALL_REMINDERS, subjects.ALL_DUE],
        retention=RetentionPolicy.WORK_QUEUE,
        allow_msg_schedules=True,
        allow_rollup_hdrs=True,  # nats-server turns this on in a stream with schedules
        deny_delete=True,
    )
    ready = streams.stream_config(
        names.ready,
        [subjects.ALL_READY],
        retention=RetentionPolicy.WORK_QUEUE,
        deny_delete=True,
        deny_purge=True,
    )
    for stream in (
        *public_streams(
            names,
            queue_length=settings.nats_max_msgs_per_subject,
            live_ttl_s=settings.live_ttl,
            live_max_bytes=settings.live_max_bytes,
            erased_ttl_s=settings.erased_ttl,
        ),
        reminders,
        ready,
    ):
        stream.num_replicas = settings.nats_replicas
        yield stream


def consumer_configs(settings: Settings) -> Iterator[tuple[str, ConsumerConfig]]:
    """Yield the configurations of the durable consumers, each with the name of its stream.

    The configurations do not set `num_replicas`, so that a consumer always has as many replicas as its stream.
    """
    names, wait = settings.stream_names, settings.task_ack_wait
    for pool, ack_wait in ((SlotPool.RECORDINGS, wait), (SlotPool.LIVE, min(LIVE_ACK_WAIT_S, wait))):
        yield names.ready, durable(names.slot_consumer(pool), subjects.ready(pool, "*"), ack_wait_s=ack_wait)
    for stream, name, subject in (
        (names.progress, names.progress_projection, subjects.progress("*")),
        (names.results, names.results_projection, subjects.results("*")),
    ):
        yield stream, durable(name, subject, ack_wait_s=wait, begin_with=DeliverPolicy.LAST_PER_SUBJECT)
    ended = durable(names.ended_tasks, subjects.outcomes("*"), ack_wait_s=wait)
    ended.headers_only = True  # the headers name the task; a result may have the largest allowed size of a message
    yield names.results, ended
    yield names.retention, durable(names.due_reminders, subjects.ALL_DUE, ack_wait_s=wait)


def bucket_configs(settings: Settings) -> Iterator[ObjectStoreConfig]:
    """Yield the configurations of the Object Store buckets."""
    for bucket in streams.bucket_configs(settings.audio_store, audio_ttl_s=settings.audio_ttl):
        bucket.replicas = settings.nats_replicas
        yield bucket


def key_value_configs(settings: Settings) -> Iterator[StreamConfig]:
    """Yield the configurations of the streams behind Key-Value buckets: voices, embeddings, quotas and the lease."""
    quotas, lease = map(_republished_bucket, (QUOTAS_BUCKET, key_value.FLEET_BUCKET))
    for config in (
        key_value.key_value_bucket(key_value.VOICES_BUCKET),
        key_value.key_value_bucket(key_value.EMBEDDINGS_BUCKET, ttl_s=streams.RESULTS_TTL_S),
        quotas,
        lease,
    ):
        config.num_replicas = settings.nats_replicas
        yield config


def _republished_bucket(bucket: str) -> StreamConfig:
    """Return the configuration of a Key-Value bucket that also publishes each stored value, on `<bucket>.<key>`."""
    config = key_value.key_value_bucket(bucket)
    config.republish = RePublish(src=key_value.key_value_subject(bucket, ">"), dest=f"{bucket}.>")
    return config


def all_stream_configs(settings: Settings) -> Iterator[StreamConfig]:
    """Yield the configurations of all streams, including those that store the data of buckets."""
    yield from stream_configs(settings)
    yield from key_value_configs(settings)
    for bucket in bucket_configs(settings):
        yield streams.bucket_stream(bucket)
