"""Who may do what: the subjects of each user, from the registry of channels and the configurations of the streams.

What a client does with a stream depends on what the stream has: events that the role may follow, a bucket that it may
read or write. The few exceptions are the tables below.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

from nats.js.api import StreamConfig
from natscribe.schemas import subjects
from natscribe.schemas.channels import CLIENTS, OPERATOR, PUBLISHER, Channel, Event, Role
from natscribe.schemas.services import Verb
from natscribe.schemas.wire import Kind, Priority

from app.settings import Settings
from app.storage.jetstream import streams
from app.storage.jetstream.channels import ACCEPTED, CHANNELS, POSITIONS, REMOVED, Internal

SETTINGS: Final = Settings(_env_file=None)  # the names of a deployment without settings of its own
NAMES: Final = SETTINGS.stream_names
STREAMS: Final = {str(config.name): config for config in streams.all_stream_configs(SETTINGS)}
CONSUMERS: Final = [(stream, str(config.durable_name)) for stream, config in streams.consumer_configs(SETTINGS)]
API: Final = "$JS.API."
MAPPED: Final = "$JS.ACK.natscribe."  # where the accounts of clients map requests of this API
_VALUES: Final = {"priority": [*Priority], "kind": [*Kind], "verb": [*Verb]}
_WIDER: Final = {channel.name: subjects.ALL_ACCEPTED for channel in ACCEPTED.values()} | {
    REMOVED.name: "scheduler.*",
    POSITIONS.name: "scheduler.*",
}

# What the service reads, beside messages by consumers: messages by sequence or subject, from any replica or the leader.
_READ_DIRECT: Final = {
    *(NAMES.tasks, NAMES.progress, NAMES.erased, NAMES.dead_letters, NAMES.live, NAMES.retention, NAMES.ready),
    *("OBJ_audio", "OBJ_results", "KV_voices", "KV_quotas"),
}
_NOT_READ: Final = {NAMES.live}  # from the leader
_NEVER_PURGED: Final = {"KV_fleet", "KV_quotas"}
_REBUILT: Final = {NAMES.progress_projection, NAMES.results_projection}  # consumers that the service deletes
_WRITTEN_BUCKETS: Final = (
    *("$O.audio.C.*", "$O.audio.M.*", "$O.results.C.*", "$O.results.M.*"),
    *("$KV.voices.*.*", "$KV.embeddings.*", "$KV.fleet.*"),
)
# What clients do with streams, beside following events.
_READ_BUCKET: Final = ("STREAM.INFO.{}", "STREAM.MSG.GET.{}", "DIRECT.GET.{}.>")
_OTHER_STREAMS: Final = (
    (PUBLISHER, NAMES.live, ("STREAM.MSG.GET.{}",)),  # to continue after a lost connection
    (PUBLISHER, "OBJ_audio", (*_READ_BUCKET, "STREAM.PURGE.{}")),
    (CLIENTS, "OBJ_results", (*_READ_BUCKET, "CONSUMER.CREATE.{}.>", "CONSUMER.DELETE.{}.*")),
    (OPERATOR, "KV_quotas", ("STREAM.INFO.{}", "DIRECT.GET.{}.>")),
    (OPERATOR, NAMES.tasks, ("STREAM.INFO.{}", "DIRECT.GET.{}")),
)
_WRITTEN_BY_CLIENTS: Final = ((PUBLISHER, ("$O.audio.C.*", "$O.audio.M.*")), (OPERATOR, ("$KV.quotas.*",)))
_FOLLOW: Final = (
    *("STREAM.INFO.{}", "DIRECT.GET.{}", "DIRECT.GET.{}.>"),
    *("CONSUMER.CREATE.{}.>", "CONSUMER.INFO.{}.*", "CONSUMER.MSG.NEXT.{}.*", "CONSUMER.DELETE.{}.*"),
)


@dataclass(frozen=True, slots=True)
class Group:
    """Subjects that belong together, under a comment."""

    comment: str
    subjects: tuple[str, ...]


def patterns(channel: Channel) -> list[str]:
    """Return the subjects of a channel as permissions have them: some channels share a wider one."""
    return [_WIDER[channel.name]] if channel.name in _WIDER else expanded(channel)


def expanded(channel: Channel) -> list[str]:
    """Return the subjects of a channel as NATS has them: with wildcards, and with each value of a priority or kind."""
    parts = re.split(r"\{(\w+)\}", channel.subject)
    values = [_VALUES.get(part, ["*"]) if at % 2 else [part] for at, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*values)]


def published(role: Role) -> tuple[str, ...]:
    """Return the subjects of the channels on which a role publishes; the service appends to the logs."""
    return _subjects(channel for channel in CHANNELS if role in channel.publishers)


def subscribed(role: Role) -> tuple[str, ...]:
    """Return the subjects of the channels to which a role subscribes."""
    return tuple(dict.fromkeys(p for channel in CHANNELS if role in channel.subscribers for p in patterns(channel)))


def _subjects(channels: Iterator[Channel]) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            subjects.append_to(pattern) if channel.is_appended else pattern
            for channel in channels
            for pattern in patterns(channel)
        )
    )


def of_service() -> Iterator[Group]:
    """Yield what the service publishes: messages, replies, entries of buckets, and requests of JetStream's API."""
    yield Group("the channels; it replays dead letters", published(Role.SERVICE))
    yield Group("replies", ("_INBOX.>", "_R_.>"))
    yield Group("buckets", _WRITTEN_BUCKETS)
    yield Group("sizes and limits of JetStream", ("$SYS.REQ.SERVER.PING.JSZ",))
    for name, config in STREAMS.items():
        yield Group(f"the stream {name}", tuple(_requests_of_service(name, config)))


def _requests_of_service(name: str, config: StreamConfig) -> Iterator[str]:
    requests = {
        "STREAM.INFO": True,
        "STREAM.CREATE": True,
        "STREAM.UPDATE": True,
        "DIRECT.GET": name in _READ_DIRECT,
        "STREAM.MSG.GET": name not in _NOT_READ,
        "STREAM.MSG.DELETE": not config.deny_delete,
        "STREAM.PURGE": not config.deny_purge and name not in _NEVER_PURGED,
    }
    yield from (f"{API}{verb}.{name}" for verb, is_allowed in requests.items() if is_allowed)
    durables = [durable for stream, durable in CONSUMERS if stream == name]
    if durables:
        yield from (f"{API}CONSUMER.{verb}.{name}.*" for verb in ("INFO", "DURABLE.CREATE", "MSG.NEXT"))
        yield f"$JS.ACK.{name}.>"
    yield from (f"{API}CONSUMER.DELETE.{name}.{durable}" for durable in durables if durable in _REBUILT)


def of_client(role: Role) -> Iterator[Group]:
    """Yield what a client publishes: messages, entries of buckets, and requests of JetStream's API."""
    yield Group("the channels", published(role))
    for roles, written in _WRITTEN_BY_CLIENTS:
        if role in roles:
            yield Group("a bucket", written)
    yield Group("names of streams", (f"{API}STREAM.NAMES",))
    for name in followed(role):
        read = () if _is_shared(name) else ("STREAM.MSG.GET.{}",)
        requests = [f"{API}{verb.format(name)}" for verb in (*_FOLLOW, *read)]
        yield Group(f"the stream {name}", (*requests, f"$JS.ACK.{name}.>", f"$JS.FC.{name}.>"))
    for readers, name, verbs in _OTHER_STREAMS:
        if role in readers:
            flow = (f"$JS.FC.{name}.>",) if "CONSUMER.CREATE.{}.>" in verbs else ()
            yield Group(f"the stream {name}", (*(f"{API}{verb.format(name)}" for verb in verbs), *flow))


def followed(role: Role) -> list[str]:
    """Return the names of the streams whose events a role may follow."""
    events = [channel for channel in CHANNELS if isinstance(channel, Event) and channel.stream]
    return [getattr(NAMES, channel.stream) for channel in events if role in channel.subscribers]


def _is_shared(name: str) -> bool:
    """Whether a stream also has internal messages."""
    return any(
        isinstance(channel, Internal) and channel.stream and getattr(NAMES, channel.stream) == name
        for channel in CHANNELS
    )


def denied(role: Role) -> Iterator[str]:
    """Yield the requests about the service's consumers, which no client may send."""
    for name in denied_consumers(role):
        for request in ("CREATE.*.{}", "CREATE.*.{}.>", "INFO.*.{}", "DELETE.*.{}", "MSG.NEXT.*.{}"):
            yield f"{API}CONSUMER.{request.format(name)}"
        yield f"$JS.ACK.*.{name}.>"


def denied_consumers(role: Role) -> list[str]:
    """Return the names of the service's consumers of the streams that a role may follow."""
    return [durable for stream, durable in CONSUMERS if stream in followed(role)]
