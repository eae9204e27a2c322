"""Strays: records of task logs that a stream has stored under the wrong subject, while it lacked its subject transform.

Workers publish records on append subjects, which the transform of the stream maps to the subjects of the logs. Without
the transform, JetStream acknowledges a record but stores it on its append subject, where readers of the log do not find
it. So the service appends strays again once the stream has its transform back. Every stray is the first record of its
log, because the stream refuses all other appends without the transform. So a stray is appended on condition that its
log is empty: if another writer has started the log in the meantime, the stream refuses the stray.
"""

from collections.abc import Awaitable
from typing import Final

import structlog
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, StreamConfig
from nats.js.errors import APIError, BadRequestError, NotFoundError
from natscribe.jetstream.error_codes import DELETE_FAILED, NO_MESSAGE
from natscribe.schemas import subjects

from app.storage.jetstream.lease import Confirm, unfenced
from app.storage.jetstream.stream_log import EXPECTED_SUBJECT, WRONG_LAST_SEQUENCE

ALL_STRAYS: Final = subjects.append_to(">")

log = structlog.get_logger()


async def append_strays(js: JetStreamContext, stream: StreamConfig, *, confirm: Confirm = unfenced) -> None:
    """Move all strays of a stream to the logs they belong to, in order.

    Strays are records that were stored under a wrong subject while the stream had lost its subject transform. A stream
    without logs is ignored. Several workers may do this at the same time. If the transform is lost again meanwhile, the
    strays not moved yet are left in place. `confirm` is called before each stray is moved; it raises an error to
    prevent that.

    Raises:
        NatsError: NATS does not answer, or `confirm` has prevented a change; call this function again.
    """
    if stream.subject_transform is None:
        return
    name, count = str(stream.name), 0
    while stray := await _read(js.get_msg(name, 1, ALL_STRAYS, next=True)):
        await confirm()
        if not await _append(js, name, stray):
            return
        await confirm()
        await _remove(js, stream, stray.seq or 0)
        count += 1
    if count:
        log.warning("strays_appended", of=name, count=count)


async def _append(js: JetStreamContext, stream: str, stray: RawStreamMsg) -> bool:
    """Append a stray (a record that was stored under a wrong subject) to its log; return whether to delete the stray.

    True: the record is now in its log, or another writer has started the log, so that JetStream refuses the record.
    False: the stream has lost its subject transform again, so that the record cannot get into its log.
    """
    subject, headers = stray.subject or "", dict(stray.headers or {})
    headers["Nats-Msg-Id"] = f"stray-{stray.seq}-{headers.get('ce-id')}"  # JetStream drops the appends of other workers
    try:
        sequence = (await js.publish(subject, stray.data or b"", stream=stream, headers=headers)).seq
    except BadRequestError as error:
        if error.err_code != WRONG_LAST_SEQUENCE:
            raise
        log_subject = headers.get(EXPECTED_SUBJECT, subject.removeprefix(subjects.append_to("")))
        return await _read(js.get_last_msg(stream, log_subject)) is not None
    stored = await _read(js.get_msg(stream, sequence))
    return stored is None or stored.subject != subject  # None: already removed


async def _remove(js: JetStreamContext, stream: StreamConfig, sequence: int) -> None:
    """Delete the stray with this stream sequence, which must be the first stray in the stream."""
    name = str(stream.name)
    if not stream.deny_purge:
        await js.purge_stream(name, subject=ALL_STRAYS, seq=sequence + 1)
        return
    try:
        await js.delete_msg(name, sequence)
    except APIError as error:
        if error.err_code not in DELETE_FAILED or await _read(js.get_msg(name, sequence)) is not None:
            raise  # otherwise another worker has removed the stray


async def _read(request: Awaitable[RawStreamMsg]) -> RawStreamMsg | None:
    """Return the message that `request` reads from a stream; None if the stream has no such message."""
    try:
        return await request
    except NotFoundError as error:
        if error.err_code != NO_MESSAGE:
            raise
        return None
