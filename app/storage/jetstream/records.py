"""Parses stored records of any version of the service: a record that cannot be parsed never counts as missing."""

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import structlog
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg
from natscribe.jetstream.cloud_events import is_from_service
from natscribe.schemas.errors import ErrorCode
from pydantic import TypeAdapter

from app.runtime.errors import RequestError

T = TypeVar("T")
Stored = TypeVar("Stored", RawStreamMsg, Msg)

log = structlog.get_logger()


@cache
def _log_unreadable(stored_as: str) -> None:
    log.error("record_unreadable", stored_as=stored_as, advice="run the newest version of the service on all workers")


class UnreadableError(RequestError):
    """This worker cannot parse a record that another version of the service has stored, and leaves all data unchanged.

    Another worker, which can parse the record, continues: background work is repeated later, a message of a queue is
    returned, and a request gets this error as the reply. The log tells the operator once what to do.
    """

    def __init__(self, subject: str) -> None:
        _log_unreadable(subject.partition(".")[0])
        message = (
            f"This worker cannot read {subject}, because another version of the service has written it: try again in a "
            "moment, another worker may answer; the operator has to run the newest version on all workers."
        )
        super().__init__(ErrorCode.INTERNAL, message)


def parse_stored(kind: type[T] | TypeAdapter[T], body: bytes, stored_as: str) -> T:
    """Parse a value that only the service stores; fields that a later version has added are kept.

    `stored_as`: the subject or the bucket of the value, for the error message.

    Raises:
        UnreadableError: Another version of the service has written the value.
    """
    try:
        return (kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)).validate_json(body, extra="allow")
    except ValueError as error:
        raise UnreadableError(stored_as) from error


def is_record(message: RawStreamMsg | Msg) -> bool:
    """Return whether a message in a log is a record, i.e. appended by the service; clients may store other messages.

    A record has the headers of the service, and they name the task of the log. The second condition excludes copies: a
    client that may read one log can make the server copy a record to another log, by naming that log as the reply
    subject of its read.
    """
    headers, subject = message.headers or {}, message.subject or ""
    return is_from_service(headers) and headers.get("ce-subject") == subject.rpartition(".")[2]


def read_record(read: Callable[[Stored], T], message: Stored) -> T | None:
    """Parse the record in a message; return None if the service did not write the message.

    Raises:
        UnreadableError: Another version of the service has written the record.
    """
    if not is_record(message):
        return None
    try:
        return read(message)
    except (ValueError, LookupError) as error:
        raise UnreadableError(message.subject or "") from error
