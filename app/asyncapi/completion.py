"""Adds to the AsyncAPI document that FastStream generates: ids, parameters, streams, replies and examples."""

import re
from collections.abc import Mapping
from typing import Final, get_type_hints

from faststream.nats import NatsResponse
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorReply
from natscribe.schemas.examples import VOICE
from natscribe.schemas.voices import VOICE_ID_PATTERN
from natscribe.schemas.wire import TASK_ID_PATTERN

from app.asyncapi import info, jetstream
from app.asyncapi.channels import CHANNELS, INSIDE, TAGS, Channel
from app.asyncapi.generated_channels import ENUMS, GeneratedChannel, find, paragraphs, pattern
from app.asyncapi.messages import CORRELATIONS, MESSAGES, MessageDescription, members, schemas
from app.asyncapi.node import Node
from app.asyncapi.servers import SECURITY_SCHEMES, SERVERS
from app.settings import Settings
from handlers.channels import REQUESTS
from handlers.published import FRAMES
from handlers.windows import transcribe_window

WINDOWS: Final = subjects.windows("{engine}")
REPLIES: Final = {route.kwargs["subject"]: route.call for route in REQUESTS} | {WINDOWS: transcribe_window}
BINDING: Final = "0.1.0"  # the version of AsyncAPI's NATS binding
_REPLY_TO: Final = {"location": "$message.header#/reply-to", "description": "The inbox that the NATS request names."}


def complete(document: Node, settings: Settings) -> Node:
    """Return the AsyncAPI document that FastStream generates, with ids, parameters, streams, replies and examples.

    Raises:
        LookupError: The code uses a channel that `CHANNELS` does not list, `CHANNELS` lists a channel that the code
            does not use, or `MESSAGES` has no message for a channel.
    """
    generated = {channel.address: _generated(document, channel.address) for channel in CHANNELS}
    _check_completeness(document, generated)
    requests = [channel for channel in CHANNELS if channel.address in REPLIES]
    return {
        "asyncapi": document["asyncapi"],
        "id": "urn:natscribe:contract:v1",
        "info": _info(document, settings),
        "defaultContentType": "application/json",
        "servers": SERVERS,
        "channels": {channel.name: _channel(channel, generated[channel.address], settings) for channel in CHANNELS}
        | {_reply_name(channel): _reply_channel(channel, generated[channel.address]) for channel in requests},
        "operations": {channel.operation: _operation(channel, generated[channel.address]) for channel in CHANNELS},
        "components": {
            "messages": {message.name: message.node for message in MESSAGES},
            "schemas": schemas(),
            "parameters": _parameters(),
            "correlationIds": CORRELATIONS,
            "securitySchemes": SECURITY_SCHEMES,
        },
        "x-nats": {"objectStoreBuckets": dict(jetstream.buckets(settings))},
    }


def _info(document: Node, settings: Settings) -> Node:
    tags = [{"name": name, "description": text} for name, text in TAGS.items()]
    return {**document["info"], "description": info.description(settings), "tags": tags}


def _generated(document: Node, address: str) -> GeneratedChannel:
    """Return what FastStream's AsyncAPI document says about a channel.

    FastStream does not know the channel of live audio, because no handler receives it: its description is created here.

    Raises:
        LookupError: The code neither subscribes nor publishes to this address.
    """
    if address != FRAMES.subject:
        return find(document, address)
    payloads = frozenset({FRAMES.payload.__name__})
    return GeneratedChannel(frozenset(), "receive", None, payloads, FRAMES.title, *paragraphs(FRAMES.description))


def _check_completeness(document: Node, generated: Mapping[str, GeneratedChannel]) -> None:
    described = frozenset[str]().union(*(channel.addresses for channel in generated.values()))
    undescribed = {node["address"] for node in document["channels"].values()} - described
    if undescribed:
        message = f"No ids for {', '.join(sorted(undescribed))}: add them to app/asyncapi/channels.py."
        raise LookupError(message)


def _channel(channel: Channel, generated: GeneratedChannel, settings: Settings) -> Node:
    is_request = channel.address in REPLIES
    node = {
        "address": channel.address,
        "title": generated.title,
        "description": f"{'Core NATS request and reply. ' if is_request else ''}{generated.description}".strip(),
        "messages": _messages(_messages_on(channel, generated)),
        "tags": [{"name": channel.tag}],
    }
    parameters = re.findall(r"\{(\w+)\}", channel.address)
    if parameters:
        node["parameters"] = {name: _parameter(name, channel.address) for name in parameters}
    facts = jetstream.stream_facts(settings, pattern(channel.address))
    return node | ({"x-nats": facts} if facts else {})


def _parameter(name: str, address: str) -> Node:
    """Return the AsyncAPI node of the parameter `name` in an address: a reference to its shared definition.

    The shared definition has a `location`: the field of the JSON payload that has the same value. Frames of live audio
    are not JSON, so for their address return a copy of the definition without `location`.
    """
    if address == FRAMES.subject:
        return {key: value for key, value in _parameters()[name].items() if key != "location"}
    return {"$ref": f"#/components/parameters/{name}"}


def _operation(channel: Channel, generated: GeneratedChannel) -> Node:
    node = {
        "action": generated.action,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "title": generated.title,
        "summary": generated.summary,
        "tags": [{"name": channel.tag}],
        "messages": _of_channel(channel.name, _messages_on(channel, generated)),
    }
    if generated.queue:
        node["bindings"] = {"nats": {"queue": generated.queue, "bindingVersion": BINDING}}
    if channel.address in REPLIES:
        node["reply"] = {
            "address": _REPLY_TO,
            "channel": {"$ref": f"#/channels/{_reply_name(channel)}"},
            "messages": _of_channel(_reply_name(channel), _replies(channel.address)),
        }
    return node


def _reply_name(channel: Channel) -> str:
    return channel.name.replace("Requests", "Replies")


def _reply_channel(channel: Channel, generated: GeneratedChannel) -> Node:
    return {
        "address": None,
        "title": f"{generated.title}: reply",
        "description": f"The inbox of the client that sends a request on `{channel.address}`.",
        "messages": _messages(_replies(channel.address)),
        "tags": [{"name": channel.tag}],
    }


def _messages_on(channel: Channel, generated: GeneratedChannel) -> list[MessageDescription]:
    """Return the messages that the code publishes or receives on a channel.

    Raises:
        LookupError: `MESSAGES` describes none of the payloads on this channel.
    """
    messages = [
        message
        for message in MESSAGES
        if not message.is_reply
        and message.is_inside == (channel.tag == INSIDE)
        and channel.only in {None, message.payload}
        and message.payload.__name__ in generated.payloads
    ]
    if not messages:
        message = f"No description of the messages on {channel.address}: add one to app/asyncapi/messages.py."
        raise LookupError(message)
    return messages


def _replies(address: str) -> list[MessageDescription]:
    """Return the replies to a request on this subject: those that its handler returns, and the error reply."""
    payloads = {*members(get_type_hints(REPLIES[address])["return"]), ErrorReply}
    replies = [message for message in MESSAGES if message.is_reply]
    return [reply for reply in replies if (NatsResponse if reply.is_file else reply.payload) in payloads]


def _messages(messages: list[MessageDescription]) -> Node:
    return {message.name: {"$ref": f"#/components/messages/{message.name}"} for message in messages}


def _of_channel(channel: str, messages: list[MessageDescription]) -> list[Node]:
    return [{"$ref": f"#/channels/{channel}/messages/{message.name}"} for message in messages]


def _parameters() -> Node:
    enums = {
        name: {
            "enum": [term.value for term in enum],
            "description": " ".join(f"`{term}`: {term.meaning}" for term in enum),
        }
        for name, enum in ENUMS.items()
    }
    return enums | {
        "engine": {
            "description": "A hash of the settings on which the texts of a model depend, and of the service's version.",
            "examples": ["3f9a0c17d2e4b586"],
        },
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
