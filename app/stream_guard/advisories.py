"""Advisories: JetStream's reports of the requests that change a stream or consumer, with the client that has asked."""

import re
from typing import Final, NamedTuple

from pydantic import BaseModel, Field, ValidationError

ADVISORIES: Final = "$JS.EVENT.ADVISORY.API"  # one message for each request to JetStream, but for successful reads
WORKERS_NAME: Final = "natscribe"  # the name of the workers' connections
LONGEST_REASON: Final = 200  # characters
LONGEST_CLIENT_NAME: Final = 64  # characters of a client's name that are repeated
ALREADY_THERE: Final = 10058  # err_code: a stream of this name exists; the request would have changed nothing
# Most advisories are about reads: this pattern finds the others before anything is parsed.
_CHANGE: Final = re.compile(
    rb'"subject":"\$JS\.API\.(?:STREAM\.(?:CREATE|UPDATE|DELETE)\.([^".]+)'
    rb'|CONSUMER\.(?:CREATE|DURABLE\.CREATE|DELETE|PAUSE)\.[^".]+\.([^".]+))'
)


class Change(NamedTuple):
    """A request to create, change, pause or delete a stream or consumer."""

    of: str  # name of the consumer, else of the stream
    by: str  # the client that has asked
    refusal: str | None  # why NATS has refused; None: NATS has done it


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
    client: _Client = Field(default_factory=_Client)
    response: str


def read(advisory: bytes) -> Change | None:
    """Read an advisory; return None for a request that changes nothing, and for a change by a worker."""
    found = _CHANGE.search(advisory)
    if found is None:
        return None
    try:
        told = _Advisory.model_validate_json(advisory)
        error = _Response.model_validate_json(told.response).error
    except ValidationError:
        return None
    if told.client.name == WORKERS_NAME or (error is not None and error.err_code == ALREADY_THERE):
        return None
    refusal = None if error is None else _written(error.description, LONGEST_REASON)
    return Change((found[1] or found[2]).decode(), _named(told.client), refusal)


def _named(client: _Client) -> str:
    """Name a client by what it says of itself, its user and its host."""
    name, user, host = (_written(each, LONGEST_CLIENT_NAME) for each in (client.name, client.user, client.host))
    return " ".join(filter(None, [name or "a client without a name", user and f"as {user}", host and f"from {host}"]))


def _written(text: str, longest: int) -> str:
    return text.encode("unicode_escape").decode()[:longest]
