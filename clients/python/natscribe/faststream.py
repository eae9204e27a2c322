"""The service's streams, message types and a configured broker for FastStream applications.

    from natscribe.faststream import RESULTS, Result, broker, pull_inbox

    natscribe = broker()

    @natscribe.subscriber(
        "results.*",
        stream=RESULTS,
        durable="mine",
        pull_sub=True,
        inbox_prefix=pull_inbox(),
        ack_policy=AckPolicy.MANUAL,
    )
    async def read(result: Result, message: NatsMessage) -> None:
        await message.ack()

With FastStream's default policy a message is lost when the handler raises; docs/faststream.md has a whole consumer.
FastStream does not declare these streams, because the service creates them. Given only the name of a stream, FastStream
would declare it with a default configuration, which NATS refuses, and the application would not start.
"""

# ruff: noqa: PLC0414 -- applications import the types of messages from here, too

import ssl
from typing import NamedTuple

from faststream.nats import JStream, NatsBroker, NatsCredentials, NatsSecurity, NatsUserPassword

from natscribe.schemas.dead_letters import DeadLetter as DeadLetter
from natscribe.schemas.erased import Erased as Erased
from natscribe.schemas.kinds import Result as Result
from natscribe.schemas.live import SpeakersEvent as SpeakersEvent
from natscribe.schemas.progress import ProgressEvent as ProgressEvent
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.transcription import SegmentsEvent as SegmentsEvent
from natscribe.settings import Settings

# By default nats-py closes the connection after 60 attempts, and FastStream's pull loops then block the event loop.
RECONNECT_WITHOUT_LIMIT = -1


class Streams(NamedTuple):
    """The service's streams to which an application may subscribe, for `stream=` of a FastStream subscriber."""

    progress: JStream  # `progress.*`: ProgressEvent
    segments: JStream  # `segments.*`: SegmentsEvent
    speakers: JStream  # `speakers.*`: SpeakersEvent
    results: JStream  # `results.*`: Result
    erased: JStream  # `erased.*`: Erased
    dead_letters: JStream  # `dead_letters.*`: DeadLetter


def streams(names: StreamNames) -> Streams:
    """Return FastStream's stream objects for a deployment whose streams do not have the default names.

    For example, `streams(Settings.read().stream_names)` returns those of the deployment in the environment.
    """
    stream_names = (names.progress, names.segments, names.speakers, names.results, names.erased, names.dead_letters)
    return Streams(*(JStream(name, declare=False) for name in stream_names))


PROGRESS, SEGMENTS, SPEAKERS, RESULTS, ERASED, DEAD_LETTERS = streams(Settings().stream_names)


def broker(settings: Settings | None = None) -> NatsBroker:
    """Return a FastStream broker for the NATS servers in the settings; the broker is not connected yet.

    `settings`: by default those of the environment.
    """
    settings = settings or Settings.read()
    return NatsBroker(
        settings.nats_servers,
        security=security(settings),
        inbox_prefix=settings.nats_inbox_prefix,
        max_reconnect_attempts=RECONNECT_WITHOUT_LIMIT,
    )


def pull_inbox(settings: Settings | None = None) -> bytes:
    """Return the `inbox_prefix` for FastStream's pull subscribers, which do not inherit the prefix of the broker.

    `settings`: by default those of the environment.
    """
    return f"{(settings or Settings.read()).nats_inbox_prefix}.".encode()


def security(settings: Settings) -> NatsSecurity | None:
    """Return the credentials and TLS of the settings for FastStream; None if the settings have neither."""
    tls = ssl.create_default_context(cafile=settings.nats_tls_ca_file) if settings.nats_tls_ca_file else None
    if settings.nats_creds_file is not None:
        return NatsCredentials(str(settings.nats_creds_file), ssl_context=tls)
    if settings.nats_user is not None:
        password = settings.nats_password.get_secret_value() if settings.nats_password else ""
        return NatsUserPassword(settings.nats_user, password, ssl_context=tls)
    return NatsSecurity(ssl_context=tls) if tls else None
