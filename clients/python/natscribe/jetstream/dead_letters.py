"""Makes the dead letter of a task message; the letter fits into a message, however large the task message is."""

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from itertools import islice

from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import BodyEncoding, DeadLetter
from natscribe.schemas.errors import ErrorDetail

# A body is stored as base64 if JSON would make it longer than this factor: a control character takes six bytes in JSON.
_LARGEST_GROWTH = 2
_MOST_HEADERS, _LONGEST_HEADER = 32, 1024  # headers of a dead letter; characters of a header


def letter_of(  # noqa: PLR0913 -- a dead letter repeats all of a message
    subject: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    task_id: str | None,
    error: ErrorDetail,
    attempts: int,
    sequence: int,
    max_payload: int,
) -> DeadLetter:
    """Return the dead letter of a task message.

    `sequence` is the stream sequence of the message. The body is cut to a quarter of `max_payload`, in bytes.
    """
    kind, _ = subjects.queue_of(subject)
    kept = body[: max_payload // 4]
    readable, encoding = _readable(kept)
    return DeadLetter(
        task_id=task_id,
        kind=kind,
        subject=subject,
        body=readable,
        body_encoding=encoding,
        body_truncated=len(kept) < len(body),
        headers=_limited(headers),
        error=error,
        attempts=attempts,
        stream_sequence=sequence,
        time=datetime.now(timezone.utc),
    )


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
