"""Checks which commands a user is permitted to run, by sending requests that change nothing."""

import asyncio
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import nats.errors
from nats.js.api import Header
from pydantic import BaseModel

from natscribe.client.errors import NotAllowedError
from natscribe.client.permissions import Connection, permitted_users
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S
from natscribe.schemas import subjects
from natscribe.schemas.channels import CHANNELS
from natscribe.schemas.quotas import QUOTA_KEYS
from natscribe.schemas.wire import Priority, TaskType
from natscribe.settings import Settings

UNUSED_NAME = "natscribe-doctor"  # no task, recording or stream has this name
_INVALID_REQUEST = b'{"%s": true}' % UNUSED_NAME.encode()  # the service refuses this field, and does nothing
_FOR_NO_STREAM = {Header.EXPECTED_STREAM.value: UNUSED_NAME}  # no stream stores a message with this header


class Permission(BaseModel):
    """Whether NATS permits the user to run a command, i.e. to publish or subscribe to the subject that it uses."""

    command: str
    subject: str
    allowed: bool
    users: tuple[str, ...]  # users of the production stack who may


class _Probe(NamedTuple):
    """A message without effect, by which the client finds out whether NATS permits the user to run a command."""

    command: str
    subject: str
    body: bytes = _INVALID_REQUEST


async def check_permissions(connection: Connection, settings: Settings) -> list[Permission]:
    """Return for each command of the client whether NATS permits the user to run it.

    Raises:
        InboxRefusedError: The user may not receive replies under its inbox prefix.
    """
    events = await connection.subscribe(subjects.progress("*"))
    probes = _probes(settings)
    allowed = await asyncio.gather(*(_is_allowed(connection, probe) for probe in probes))
    await events.unsubscribe()
    # The server has refused the subscription before it replied to the probes.
    receives_events = subjects.progress("*") not in connection.refused_subscriptions
    top = _Probe("top", subjects.progress("*"))
    return [
        Permission(command=command, subject=subject, allowed=may, users=permitted_users(subject))
        for (command, subject, _), may in zip([*probes, top], [*allowed, receives_events], strict=True)
    ]


def _probes(settings: Settings) -> list[_Probe]:
    names, store = settings.stream_names, urlsplit(settings.audio_store)
    publish = [
        _Probe("transcribe", subjects.tasks(TaskType.TRANSCRIPTION, Priority.NORMAL)),
        _Probe("diarize", subjects.tasks(TaskType.DIARIZATION, Priority.NORMAL)),
        _Probe("live", subjects.live_audio(UNUSED_NAME)),
    ]
    upload = [_Probe("upload", f"$O.{store.netloc}.M.{UNUSED_NAME}")] if store.scheme == "nats" else []
    last_event = b'{"last_by_subj": "%s"}' % subjects.progress(UNUSED_NAME).encode()
    return [
        *publish,
        *upload,
        _Probe("watch", f"$JS.API.STREAM.MSG.GET.{names.progress}", last_event),
        *(_Probe(_command(channel.subject), channel.subject) for channel in CHANNELS if channel.is_request_of_clients),
        _Probe("dead-letters list", f"$JS.API.STREAM.INFO.{names.dead_letters}", b""),
        _Probe("quotas", f"{QUOTA_KEYS}{UNUSED_NAME}", b""),
    ]


def _command(subject: str) -> str:
    """Return the command that sends a request: `status` for `tasks.status`, `voices list` for `voices.list`."""
    return subject.removeprefix("tasks.").replace("_", "-").replace(".", " ")


async def _is_allowed(connection: Connection, probe: _Probe) -> bool:
    """Send a probe (a request without effect), and return whether NATS permits it, even if the reply is an error."""
    try:
        with suppress(nats.errors.Error):
            await connection.request(probe.subject, probe.body, REQUEST_TIMEOUT_S, headers=_FOR_NO_STREAM)
    except NotAllowedError:
        return False
    return True
