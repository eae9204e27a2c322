"""Creates and reads dead letters, i.e. task messages that failed permanently, stored with their error."""

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

# A body that JSON would enlarge by this factor is stored as base64: a control character takes six bytes in JSON.
_MAX_GROWTH = 2
_MAX_HEADERS, _MAX_HEADER_LENGTH = 32, 1024  # headers of a dead letter; characters of a header


def make_dead_letter(
    message: TaskMessage, task_id: str | None, error: ErrorDetail, *, attempts: int, max_payload: int
) -> DeadLetter:
    """Return the dead letter of a task message that failed with `error` after `attempts` attempts.

    The body of the message is truncated to a quarter of `max_payload` (bytes), so that the dead letter fits into a
    message. `task_id`: None if the message contains no valid id.
    """
    truncated = message.body[: max_payload // 4]
    body, encoding = _encode(truncated)
    return DeadLetter(
        task_id=task_id,
        kind=message.kind,
        subject=message.subject,
        body=body,
        body_encoding=encoding,
        body_truncated=len(truncated) < len(message.body),
        headers=_limited(message.headers),
        error=error,
        attempts=attempts,
        stream_sequence=message.sequence,
        time=datetime.now(timezone.utc),
    )


async def dead_letter_pages(
    nats: Client, stream: str, *, after: int = 0, parse: Callable[[bytes], DeadLetter] = DeadLetter.model_validate_json
) -> AsyncIterator[list[tuple[int, DeadLetter]]]:
    """Yield the dead letters after the stream sequence `after`, page by page, the oldest first.

    Each dead letter is paired with its stream sequence. Messages that the service has not published are skipped.
    `stream`: the name of the dead-letter stream. `parse`: parses a stored message.

    Raises:
        NatsError: NATS does not reply.
    """
    async for messages in stream_pages.pages(nats, stream, subjects.dead_letters("*"), after=after):
        yield [
            (message.seq or 0, parse(message.data or b"")) for message in messages if is_from_service(message.headers)
        ]


def _encode(body: bytes) -> tuple[str, BodyEncoding]:
    with suppress(UnicodeDecodeError):
        text = body.decode()
        if len(json.dumps(text, ensure_ascii=False)) < _MAX_GROWTH * len(body) + 3:
            return text, BodyEncoding.UTF_8
    return base64.b64encode(body).decode(), BodyEncoding.BASE64


def _limited(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the first _MAX_HEADERS headers of a message, except those longer than _MAX_HEADER_LENGTH characters.

    The length of a header is that of its name and value together.
    """
    first = islice(headers.items(), _MAX_HEADERS)
    return {name: value for name, value in first if len(name + value) <= _MAX_HEADER_LENGTH}
