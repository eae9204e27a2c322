"""Completes the AsyncAPI document: adds titles and descriptions to the channels that FastStream finds."""

import re
from collections.abc import Mapping
from typing import Final, get_args, get_type_hints

from natscribe.schemas.errors import ErrorReply
from natscribe.schemas.examples import VOICE
from natscribe.schemas.subjects import WINDOWS_CHANNEL
from natscribe.schemas.voices import VOICE_ID_PATTERN
from natscribe.schemas.wire import TASK_ID_PATTERN

from app.asyncapi import info, jetstream
from app.asyncapi.generated_channels import ENUMS, GeneratedChannel, find, pattern
from app.asyncapi.messages import CORRELATIONS, MESSAGES, MessageWords, schemas
from app.asyncapi.node import Node
from app.asyncapi.servers import SECURITY_SCHEMES, SERVERS
from app.asyncapi.wording import CHANNELS, INSIDE, TAGS, Channel
from app.settings import Settings
from handlers.channels import READ, REQUESTS
from handlers.windows import transcribe_window

REPLIES: Final = {route.kwargs["subject"]: route.call for route in REQUESTS} | {WINDOWS_CHANNEL: transcribe_window}
BINDING: Final = "0.1.0"  # the version of AsyncAPI's NATS binding
_REPLY_TO: Final = {"location": "$message.header#/reply-to", "description": "The inbox that the NATS request names."}


def complete(found: Node, settings: Settings) -> Node:
    """Make the whole AsyncAPI document from the one that FastStream generates.

    Raises:
        LookupError: A channel or message of the code has no description, or a described one is not in the code.
    """
    findings = {channel.address: _finding(found, channel.address) for channel in CHANNELS}
    _check_all_are_described(found, findings)
    asked = [channel for channel in CHANNELS if channel.address in REPLIES]
    return {
        "asyncapi": found["asyncapi"],
        "id": "urn:natscribe:contract:v1",
        "info": _info(found, settings),
        "defaultContentType": "application/json",
        "servers": SERVERS,
        "channels": {channel.name: _channel(channel, findings[channel.address], settings) for channel in CHANNELS}
        | {_reply_name(channel): _reply_channel(channel) for channel in asked},
        "operations": {channel.operation: _operation(channel, findings[channel.address]) for channel in CHANNELS},
        "components": {
            "messages": {message.name: message.node for message in MESSAGES},
            "schemas": schemas(),
            "parameters": _parameters(),
            "correlationIds": CORRELATIONS,
            "securitySchemes": SECURITY_SCHEMES,
        },
        "x-nats": {"objectStoreBuckets": dict(jetstream.buckets(settings))},
    }


def _info(found: Node, settings: Settings) -> Node:
    tags = [{"name": name, "description": said} for name, said in TAGS.items()]
    return {**found["info"], "description": info.description(settings), "tags": tags}


def _finding(found: Node, address: str) -> GeneratedChannel:
    """Return what the code does on the subjects of an address.

    Raises:
        LookupError: The code neither subscribes nor publishes to this address.
    """
    if address in READ:
        return GeneratedChannel(frozenset(), "receive", None, frozenset({READ[address].__name__}))
    return find(found, address)


def _check_all_are_described(found: Node, findings: Mapping[str, GeneratedChannel]) -> None:
    described = frozenset[str]().union(*(finding.addresses for finding in findings.values()))
    undescribed = {node["address"] for node in found["channels"].values()} - described
    if undescribed:
        message = f"No description of {', '.join(sorted(undescribed))}: add one to wording.py."
        raise LookupError(message)


def _channel(channel: Channel, finding: GeneratedChannel, settings: Settings) -> Node:
    node = {
        "address": channel.address,
        "title": channel.title,
        "description": channel.description,
        "messages": _messages(_messages_on(channel, finding)),
        "tags": [{"name": channel.tag}],
    }
    parameters = re.findall(r"\{(\w+)\}", channel.address)
    if parameters:
        node["parameters"] = {name: _parameter(name, channel.address) for name in parameters}
    facts = jetstream.stream_facts(settings, pattern(channel.address))
    return node | ({"x-nats": facts} if facts else {})


def _parameter(name: str, address: str) -> Node:
    """Return a reference to a parameter of an address.

    If the payload there is not JSON, return the parameter itself, without the place in a payload that has its value.
    """
    if READ.get(address) is bytes:
        return {key: value for key, value in _parameters()[name].items() if key != "location"}
    return {"$ref": f"#/components/parameters/{name}"}


def _operation(channel: Channel, finding: GeneratedChannel) -> Node:
    node = {
        "action": finding.action,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "title": channel.title,
        "summary": channel.summary,
        "tags": [{"name": channel.tag}],
        "messages": _of_channel(channel.name, _messages_on(channel, finding)),
    }
    if finding.queue:
        node["bindings"] = {"nats": {"queue": finding.queue, "bindingVersion": BINDING}}
    if channel.address in REPLIES:
        node["reply"] = {
            "address": _REPLY_TO,
            "channel": {"$ref": f"#/channels/{_reply_name(channel)}"},
            "messages": _of_channel(_reply_name(channel), _replies(channel.address)),
        }
    return node


def _reply_name(channel: Channel) -> str:
    return channel.name.replace("Requests", "Replies")


def _reply_channel(channel: Channel) -> Node:
    return {
        "address": None,
        "title": f"{channel.title}: the reply",
        "description": f"The inbox of whoever asks on `{channel.address}`.",
        "messages": _messages(_replies(channel.address)),
        "tags": [{"name": channel.tag}],
    }


def _messages_on(channel: Channel, finding: GeneratedChannel) -> list[MessageWords]:
    """Return the described messages that the code publishes or receives on a channel.

    Raises:
        LookupError: No payload of the channel is described.
    """
    inside = channel.tag == INSIDE
    found = [message for message in MESSAGES if not message.is_reply and message.is_inside == inside]
    found = [message for message in found if channel.only in {None, message.payload}]
    said = [message for message in found if message.payload.__name__ in finding.models]
    if not said:
        message = f"No description of the messages on {channel.address}: add one to messages.py."
        raise LookupError(message)
    return said


def _replies(address: str) -> list[MessageWords]:
    """Return the messages that the handler of a request returns, with the error reply."""
    returned = get_type_hints(REPLIES[address])["return"]
    payloads = {*(get_args(returned) or (returned,)), ErrorReply}
    return [message for message in MESSAGES if message.is_reply and message.payload in payloads]


def _messages(messages: list[MessageWords]) -> Node:
    return {message.name: {"$ref": f"#/components/messages/{message.name}"} for message in messages}


def _of_channel(channel: str, messages: list[MessageWords]) -> list[Node]:
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
            "description": f"The task id, as its publisher chose it; it matches `{TASK_ID_PATTERN}`.",
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
