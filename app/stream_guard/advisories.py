"""Advisories: JetStream's reports about requests that change streams or consumers, with the client that sent each."""

import re
from typing import Final, NamedTuple

from pydantic import BaseModel, Json, ValidationError

ADVISORIES: Final = "$JS.EVENT.ADVISORY.API"  # one message for each request to JetStream, except for successful reads
WORKERS_NAME: Final = "natscribe"  # the name of the workers' connections
LONGEST_REASON: Final = 200  # characters
LONGEST_CLIENT_NAME: Final = 64  # characters of a client's name, user and host that are logged
ALREADY_THERE: Final = 10058  # err_code: a stream of this name exists, so the request would have changed nothing
# Most advisories are about reads: this pattern finds the others before any JSON is parsed.
_CHANGE: Final = re.compile(
    rb'"subject":"\$JS\.API\.(?:STREAM\.(?:CREATE|UPDATE|DELETE)\.([^".]+)'
    rb'|CONSUMER\.(?:CREATE|DURABLE\.CREATE|DELETE|PAUSE)\.[^".]+\.([^".]+))'
)


class StreamChange(NamedTuple):
    """A client's request to create, change, pause or delete a stream or consumer, as an advisory reports it."""

    resource: str  # name of the consumer or, without a consumer, of the stream
    client: str  # the client that has sent the request
    refusal: str | None  # why NATS has refused the request; None: NATS has made the change


class _Client(BaseModel):
    name: str = ""
    user: str = ""
    host: str = ""


class _Error(BaseModel):
    err_code: int = 0
    description: str = ""


class _Response(BaseModel):
    error: _Error | None = None


class _Advisory(BaseModel):
    client: _Client = _Client()
    response: Json[_Response]


def read(advisory: bytes) -> StreamChange | None:
    """Parse an advisory, JetStream's report about one API request; return the change that the request is about.

    Return None if the request cannot change a stream or consumer, if a worker has sent it, or if the advisory is
    unreadable. A refused request is returned, too.
    """
    match = _CHANGE.search(advisory)
    if match is None:
        return None
    try:
        report = _Advisory.model_validate_json(advisory)
    except ValidationError:
        return None
    error = report.response.error
    if report.client.name == WORKERS_NAME or (error is not None and error.err_code == ALREADY_THERE):
        return None
    refusal = None if error is None else _escaped(error.description, LONGEST_REASON)
    return StreamChange((match[1] or match[2]).decode(), _describe(report.client), refusal)


def _describe(client: _Client) -> str:
    """Describe a client by its name, user and host, for the log."""
    name, user, host = (_escaped(text, LONGEST_CLIENT_NAME) for text in (client.name, client.user, client.host))
    return " ".join(filter(None, [name or "a client without a name", user and f"as {user}", host and f"from {host}"]))


def _escaped(text: str, longest: int) -> str:
    """Escape all but printable ASCII characters in a client's text, and return its first `longest` characters."""
    return text.encode("unicode_escape").decode()[:longest]
