"""Describes streams, consumers and buckets in the AsyncAPI document (`x-nats`), from the service's configurations."""

from collections.abc import Iterator

from nats.js.api import ConsumerConfig, ObjectStoreConfig, StreamConfig
from natscribe.jetstream.streams import RESULTS_BUCKET, stored_subjects
from natscribe.schemas import subjects
from natscribe.schemas.channels import Channel

from app.document.messages import Node
from app.settings import Settings
from app.storage.jetstream import objects, streams


def stream_facts(settings: Settings, channel: Channel) -> Node:
    """Describe the stream that stores the messages of a channel, and its consumers; empty if no stream stores them."""
    for config in streams.stream_configs(settings) if channel.stream else ():
        if config.name == getattr(settings.stream_names, channel.stream):
            stored = [subject for subject in stored_subjects(config) if _is_of(channel, subject)]
            return {"x-nats": _where(config, stored) | _stream(config, stored) | _durables(settings, config, stored)}
    return {}


def _is_of(channel: Channel, subject: str) -> bool:
    """Whether the messages of a channel are stored under this subject."""
    tokens = channel.subject.split("."), subject.split(".")
    return all(token.startswith("{") or token == stored for token, stored in zip(*tokens, strict=True))


def _where(config: StreamConfig, stored: list[str]) -> Node:
    """Describe where clients read new and stored messages of a stream that transforms or republishes its subjects.

    Return an empty node for another stream, because clients read its messages on the channel's own subject. `stored`:
    the subjects of a channel that this stream stores.
    """
    if config.subject_transform is None:
        return {"republishedTo": config.republish.dest} if config.republish else {}
    return {
        "live": "core NATS, on this subject: each stored message, with the header Nats-Sequence",
        "past": f"the stream {config.name}, which a client must name and never declare: no stream is found by this "
        f'subject; in FastStream, `stream=JStream("{config.name}", declare=False)`',
        "appendedOn": [subjects.append_to(subject) for subject in stored],
    }


def _stream(config: StreamConfig, stored: list[str]) -> Node:
    return {
        "stream": config.name,
        "subjects": stored,
        "retention": config.retention,
        "storage": config.storage,
        "discard": config.discard,
        "discardNewPerSubject": bool(config.discard_new_per_subject),
        "maxMessagesPerSubject": config.max_msgs_per_subject or -1,
        "maxAgeSeconds": int(config.max_age or 0),
        "duplicateWindowSeconds": int(config.duplicate_window),
        "allowDirect": bool(config.allow_direct),
    }


def _durables(settings: Settings, stream: StreamConfig, stored: list[str]) -> Node:
    consumers = [
        _consumer(consumer)
        for name, consumer in streams.consumer_configs(settings)
        if name == stream.name and consumer.filter_subject in stored
    ]
    return {"consumersOfTheService": consumers} if consumers else {}


def _consumer(config: ConsumerConfig) -> Node:
    return {
        "durable": config.durable_name,
        "filterSubject": config.filter_subject,
        "deliverPolicy": config.deliver_policy,
        "ackPolicy": config.ack_policy,
        "ackWaitSeconds": config.ack_wait,
        "maxDeliver": config.max_deliver,
    }


def buckets(settings: Settings) -> Iterator[tuple[str, Node]]:
    """Yield for each Object Store bucket its purpose, `audio` or `results`, and a description of how NATS stores it."""
    for config in streams.bucket_configs(settings):
        results = config.bucket == RESULTS_BUCKET
        yield "results" if results else "audio", _bucket(config) | (_of_results() if results else _of_audio(settings))


def _bucket(config: ObjectStoreConfig) -> Node:
    bucket = config.bucket or ""
    return {
        "bucket": bucket,
        "stream": objects.stream_of(bucket),
        "chunkSubject": objects.chunks_of(bucket, "<nuid>"),
        "metaSubject": f"$O.{bucket}.M.<name in URL-safe base64, with padding>",
        "chunkBytes": objects.CHUNK_BYTES,
        "digest": "SHA-256=<digest in URL-safe base64, with padding>",
        "maxAgeSeconds": int(config.ttl or 0),
    }


def _of_audio(settings: Settings) -> Node:
    return {
        "maxObjectBytes": settings.audio_max_bytes,
        "objectName": "audio_file_id",
        "description": "Recordings, uploaded by clients, in any format that FFmpeg reads. Links are not followed.",
    }


def _of_results() -> Node:
    return {
        "objectName": "task_id",
        "description": f"Results that are too large for a message on `{subjects.results('{task_id}')}`, stored by the "
        "service: the object is the result in JSON.",
    }
