"""What a FastStream application needs of the service: its streams ready-made, a broker that is logged in, the messages.

    from natscribe.faststream import RESULTS, Result, broker

    natscribe = broker()

    @natscribe.subscriber("results.*", stream=RESULTS, durable="transcripts", pull_sub=True)
    async def read(result: Result) -> None: ...

Given only a stream's name, FastStream would declare the stream with a configuration of its own, which NATS refuses, and
the application would not start. It never declares these streams: the service makes them.
"""

import ssl
from typing import NamedTuple

from faststream.nats import JStream, NatsBroker, NatsCredentials, NatsSecurity, NatsUserPassword

from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.kinds import Result
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.settings import Settings

__all__ = [
    "DEAD_LETTERS",
    "PROGRESS",
    "RESULTS",
    "SEGMENTS",
    "DeadLetter",
    "ProgressEvent",
    "Result",
    "SegmentsEvent",
    "Streams",
    "broker",
    "pull_inbox",
    "security",
    "streams",
]

# nats-py's default closes the connection after 60 attempts, and the pull loops of FastStream then block the event loop.
RECONNECT_WITHOUT_LIMIT = -1


class Streams(NamedTuple):
    """The streams that an application may subscribe to."""

    progress: JStream  # `progress.*`: ProgressEvent
    segments: JStream  # `segments.*`: SegmentsEvent
    results: JStream  # `results.*`: Result
    dead_letters: JStream  # `dead_letters.*`: DeadLetter


def streams(names: StreamNames) -> Streams:
    """Return the streams under the names that `names` gives them, e.g. `streams(Settings.read().stream_names)`."""
    called = (names.progress, names.segments, names.results, names.dead_letters)
    return Streams(*(JStream(name, declare=False) for name in called))


PROGRESS, SEGMENTS, RESULTS, DEAD_LETTERS = streams(Settings().stream_names)


def broker(settings: Settings | None = None) -> NatsBroker:
    """Make a broker with the address, the login and the inbox prefix of the settings; nothing is connected yet.

    Without `settings` the environment is read.
    """
    settings = settings or Settings.read()
    return NatsBroker(
        settings.nats_servers,
        security=security(settings),
        inbox_prefix=settings.nats_inbox_prefix,
        max_reconnect_attempts=RECONNECT_WITHOUT_LIMIT,
    )


def pull_inbox(settings: Settings | None = None) -> bytes:
    """Return the `inbox_prefix` for pull subscribers, which do not use that of the broker."""
    return f"{(settings or Settings.read()).nats_inbox_prefix}.".encode()


def security(settings: Settings) -> NatsSecurity | None:
    """Read login and TLS from the settings; return None if the settings have neither."""
    tls = ssl.create_default_context(cafile=settings.nats_tls_ca_file) if settings.nats_tls_ca_file else None
    if settings.nats_creds_file is not None:
        return NatsCredentials(str(settings.nats_creds_file), ssl_context=tls)
    if settings.nats_user is not None:
        password = settings.nats_password.get_secret_value() if settings.nats_password else ""
        return NatsUserPassword(settings.nats_user, password, ssl_context=tls)
    return NatsSecurity(ssl_context=tls) if tls else None
