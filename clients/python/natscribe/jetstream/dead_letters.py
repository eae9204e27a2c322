"""Dead letters: how each is made to fit into a message, and how they are read from their stream."""

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from itertools import islice

from nats.aio.client import Client

from natscribe.jetstream import stream_pages
from natscribe.jetstream.cloud_events import is_from_service
from natscribe.jetstream.task_messages import TaskMessage
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import BodyEncoding, DeadLetter
from natscribe.schemas.errors import ErrorDetail

# A body is stored as base64 if JSON would make it longer than this factor: a control character takes six bytes in JSON.
_LARGEST_GROWTH = 2
_MOST_HEADERS, _LONGEST_HEADER = 32, 1024  # headers of a dead letter; characters of a header


def make_dead_letter(
    message: TaskMessage, task_id: str | None, error: ErrorDetail, *, attempts: int, max_payload: int
) -> DeadLetter:
    """Return the dead letter of a task message; its body is cut to a quarter of `max_payload`, in bytes."""
    kept = message.body[: max_payload // 4]
    readable, encoding = _readable(kept)
    return DeadLetter(
        task_id=task_id,
        kind=message.kind,
        subject=message.subject,
        body=readable,
        body_encoding=encoding,
        body_truncated=len(kept) < len(message.body),
        headers=_limited(message.headers),
        error=error,
        attempts=attempts,
        stream_sequence=message.sequence,
        time=datetime.now(timezone.utc),
    )


async def dead_letter_pages(
    nats: Client, stream: str, *, after: int = 0, parse: Callable[[bytes], DeadLetter] = DeadLetter.model_validate_json
) -> AsyncIterator[list[tuple[int, DeadLetter]]]:
    """Yield pages of dead letters with their stream sequences, the oldest first.

    `after` is a stream sequence: the first dead letter has a larger one.

    Raises:
        NatsError: NATS does not answer.
    """
    async for messages in stream_pages.pages(nats, stream, subjects.ALL_DEAD_LETTERS, after=after):
        yield [(each.seq or 0, parse(each.data or b"")) for each in messages if is_from_service(each.headers)]


def _readable(body: bytes) -> tuple[str, BodyEncoding]:
    with suppress(UnicodeDecodeError):
        text = body.decode()
        if len(json.dumps(text, ensure_ascii=False)) < _LARGEST_GROWTH * len(body) + 3:
            return text, BodyEncoding.UTF_8
    return base64.b64encode(body).decode(), BodyEncoding.BASE64


def _limited(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the first _MOST_HEADERS headers, without those that are longer than _LONGEST_HEADER."""
    first = islice(headers.items(), _MOST_HEADERS)
    return {name: value for name, value in first if len(name + value) <= _LONGEST_HEADER}
