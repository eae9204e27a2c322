"""The channels and operations of the AsyncAPI document, from the registry and the docstrings of handlers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from natscribe.schemas.channels import FRAMES, TASK_QUEUES, Channel, Event
from natscribe.schemas.examples import VOICE
from natscribe.schemas.services import Verb
from natscribe.schemas.voices import VOICE_ID_PATTERN
from natscribe.schemas.wire import TASK_ID_PATTERN, Kind, Priority

from app.document import jetstream
from app.document.messages import DOCUMENTED, MessageDescription, Node, paragraphs, replies_on, requests_on
from app.settings import Settings

_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_REPLY_TO: Final = {"location": "$message.header#/reply-to", "description": "The inbox that the NATS request names."}
_SENT: Final = {channel.title: channel.meaning for channel in DOCUMENTED if isinstance(channel, Event)}


def descriptions(brokers: Sequence[Any]) -> dict[str, str]:
    """Return the descriptions of the documented channels by their titles, from the brokers of the application.

    Raises:
        LookupError: A broker lacks a channel of the registry, or has a channel that is not in the registry.
    """
    subscribers = [subscriber.specification for broker in brokers for subscriber in broker.subscribers]
    publishers = [publisher.specification for broker in brokers for publisher in broker.publishers]
    # JetStream stores tasks and frames, and workers read the streams.
    described = {channel.title: channel.description for channel in (*TASK_QUEUES.values(), FRAMES)}
    described |= {endpoint.name: endpoint.description or "" for endpoint in subscribers if endpoint.include_in_schema}
    described |= {endpoint.name: _SENT.get(endpoint.name, "") for endpoint in publishers if endpoint.include_in_schema}
    registered = {channel.title for channel in DOCUMENTED}
    if unknown := described.keys() - registered:
        message = f"Channels without an entry: {', '.join(unknown)}: add them to CHANNELS in schemas/channels.py."
        raise LookupError(message)
    if missing := registered - described.keys():
        message = f"Nobody subscribes or publishes: {', '.join(missing)}: add a handler in handlers/ or a publisher."
        raise LookupError(message)
    return described


def channels(described: Mapping[str, str], settings: Settings) -> Node:
    """Return the channels by their ids, each channel of requests with a further one for the replies."""
    replies = {_reply_name(channel): _reply_channel(channel) for channel in DOCUMENTED if channel.replies}
    return {channel.name: _channel(channel, described[channel.title], settings) for channel in DOCUMENTED} | replies


def operations(described: Mapping[str, str]) -> Node:
    """Return the operations by their ids: one of each channel."""
    return {channel.operation: _operation(channel, described[channel.title]) for channel in DOCUMENTED}


def _channel(channel: Channel, description: str, settings: Settings) -> Node:
    request = "Core NATS request and reply. " if channel.replies else ""
    node = {
        "address": channel.subject,
        "title": channel.title,
        "description": f"{request}{paragraphs(description)[1]}".strip(),
        "messages": _messages(requests_on(channel)),
        "tags": [{"name": channel.tag.value}],
    }
    if names := _PARAMETER.findall(channel.subject):
        node["parameters"] = {name: _parameter(name, channel) for name in names}
    return node | jetstream.stream_facts(settings, channel)


def _parameter(name: str, channel: Channel) -> Node:
    """Return the AsyncAPI node of a parameter of a channel: a reference to its shared definition.

    The shared definition has a `location`: the field of the JSON payload that has the same value. Frames of live audio
    are not JSON, so for their channel return a copy of the definition without `location`.
    """
    if channel is FRAMES:
        return {key: value for key, value in parameters()[name].items() if key != "location"}
    return {"$ref": f"#/components/parameters/{name}"}


def _operation(channel: Channel, description: str) -> Node:
    node: Node = {
        "action": "send" if isinstance(channel, Event) else "receive",
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "title": channel.title,
        "summary": paragraphs(description)[0],
        "tags": [{"name": channel.tag.value}],
        "messages": _of_channel(channel.name, requests_on(channel)),
    }
    if channel.group:
        node["bindings"] = {"nats": {"queue": channel.group, "bindingVersion": "0.1.0"}}
    if channel.replies:
        node["reply"] = {
            "address": _REPLY_TO,
            "channel": {"$ref": f"#/channels/{_reply_name(channel)}"},
            "messages": _of_channel(_reply_name(channel), replies_on(channel)),
        }
    return node


def _reply_name(channel: Channel) -> str:
    return channel.name.replace("Requests", "Replies")


def _reply_channel(channel: Channel) -> Node:
    return {
        "address": None,
        "title": f"{channel.title}: reply",
        "description": f"The inbox of the client that sends a request on `{channel.subject}`.",
        "messages": _messages(replies_on(channel)),
        "tags": [{"name": channel.tag.value}],
    }


def _messages(messages: list[MessageDescription]) -> Node:
    return {message.name: {"$ref": f"#/components/messages/{message.name}"} for message in messages}


def _of_channel(channel: str, messages: list[MessageDescription]) -> list[Node]:
    return [{"$ref": f"#/channels/{channel}/messages/{message.name}"} for message in messages]


def parameters() -> Node:
    """Return the shared definitions of the parameters of subjects."""
    enums = {
        name: {
            "enum": [term.value for term in enum],
            "description": " ".join(f"`{term}`: {term.meaning}" for term in enum),
        }
        for name, enum in (("priority", Priority), ("kind", Kind), ("verb", Verb))
    }
    return enums | {
        "task_id": {
            "description": f"The task id, chosen by its publisher; it matches `{TASK_ID_PATTERN}`.",
            "location": "$message.payload#/task_id",
            "examples": ["meeting-2026-11-24"],
            "x-pattern": TASK_ID_PATTERN,
        },
        "voice": {
            "description": f"The id of the voice; it matches `{VOICE_ID_PATTERN}`.",
            "location": "$message.payload#/voice",
            "examples": [VOICE.voice],
            "x-pattern": VOICE_ID_PATTERN,
        },
    }
