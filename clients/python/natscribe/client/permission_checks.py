"""Finds out which requests of the command a user may send, by requests that change nothing."""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import nats.errors
from nats.js.api import Header
from pydantic import BaseModel

from natscribe.client.errors import NotAllowedError
from natscribe.client.permissions import Connection, permitted_users
from natscribe.jetstream.retries import REQUEST_TIMEOUT_S
from natscribe.schemas import subjects
from natscribe.schemas.wire import Lane, Priority
from natscribe.settings import Settings

NO_SUCH_NAME = "natscribe-doctor"  # no task, recording or stream has this name
_REFUSED_REQUEST = b'{"%s": true}' % NO_SUCH_NAME.encode()  # the service refuses this field, and does nothing
_FOR_NO_STREAM = {Header.EXPECTED_STREAM.value: NO_SUCH_NAME}  # with this header, no stream stores a message


class Right(BaseModel):
    """Whether the user may send the requests of one command, and which users may."""

    command: str
    subject: str
    allowed: bool
    users: tuple[str, ...]  # users of the production stack who may


@dataclass(frozen=True)
class _Try:
    """A request that shows whether a user may send requests of this kind."""

    command: str
    subject: str
    body: bytes = _REFUSED_REQUEST
    is_stored: bool = False  # whether a stream would store the message


async def rights(connection: Connection, settings: Settings) -> list[Right]:
    """Return what the user may do, command by command.

    Raises:
        InboxRefusedError: The user may not receive replies under its inbox prefix.
    """
    events = await connection.subscribe(subjects.ALL_PROGRESS)
    tries = _tries(settings)
    allowed = await asyncio.gather(*(_may(connection, each) for each in tries))
    await events.unsubscribe()
    found = [_right(each.command, each.subject, may) for each, may in zip(tries, allowed, strict=True)]
    hears = subjects.ALL_PROGRESS not in connection.refused_subscriptions  # the server has said so before its replies
    return [*found, _right("top", subjects.ALL_PROGRESS, hears)]


def _right(command: str, subject: str, allowed: bool) -> Right:  # noqa: FBT001 -- a value, no option
    return Right(command=command, subject=subject, allowed=allowed, users=permitted_users(subject))


def _tries(settings: Settings) -> list[_Try]:
    names, store = settings.stream_names, urlsplit(settings.audio_store)
    publish = [
        _Try("transcribe", subjects.tasks(Lane.TRANSCRIPTION, Priority.NORMAL), is_stored=True),
        _Try("diarize", subjects.tasks(Lane.DIARIZATION, Priority.NORMAL), is_stored=True),
        _Try("live", subjects.live_audio(NO_SUCH_NAME), is_stored=True),
    ]
    upload = [_Try("upload", f"$O.{store.netloc}.M.{NO_SUCH_NAME}", is_stored=True)] if store.scheme == "nats" else []
    last_event = b'{"last_by_subj": "%s"}' % subjects.progress(NO_SUCH_NAME).encode()
    return [
        *publish,
        *upload,
        _Try("watch", f"$JS.API.STREAM.MSG.GET.{names.progress}", last_event),
        _Try("status", subjects.STATUS),
        _Try("result", subjects.RESULT),
        _Try("list", subjects.LIST),
        _Try("cancel", subjects.CANCEL),
        _Try("delete", subjects.DELETE),
        _Try("voices", subjects.VOICES),
        _Try("queue", subjects.TASK_QUEUES),
        _Try("dead-letters list", f"$JS.API.STREAM.INFO.{names.dead_letters}", b""),
        _Try("dead-letters replay", subjects.REPLAY),
        _Try("dead-letters delete", subjects.DELETE_LETTERS),
    ]


async def _may(connection: Connection, tried: _Try) -> bool:
    """Whether the server lets the request pass, whatever the answer is."""
    headers = _FOR_NO_STREAM if tried.is_stored else None
    try:
        await connection.request(tried.subject, tried.body, REQUEST_TIMEOUT_S, headers=headers)
    except NotAllowedError:
        return False
    except nats.errors.Error:
        return True
    return True
