"""Quotas: how much of the service each user may use, from the settings and, for single users, from a bucket."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg
from natscribe.jetstream import stream_pages
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.quotas import QUOTA_KEYS, QUOTAS_BUCKET, read_quota
from natscribe.schemas.workers import Problem

from app.runtime.supervision import OUTAGE_PAUSE_S, run_forever, wait_up_to
from app.storage.jetstream.key_value import key_value_stream
from app.tasks.queue.fair_queue import Quota

READ_EVERY_S: Final = 60.0  # even without a notice of a change, which an outage may have swallowed
_REPAIR: Final = "Correct or delete it (natscribe quotas set USER, natscribe quotas delete USER)"
_DELETE: Final = f"Delete the entry (nats kv del {QUOTAS_BUCKET} {{key}})"

log = structlog.get_logger()


class Quotas:
    """Holds the quota of each user in memory, and follows changes of the Key-Value bucket of quotas.

    If the entry of a user is invalid, the user's last valid quota still applies, or the default if there was none.
    """

    def __init__(self, nats: Client, default: Quota) -> None:
        """Create quotas that are all `default` until `run` has read the bucket."""
        self.problems: list[Problem] = []  # invalid entries
        self.changed: Callable[[int | str], None] = lambda _: None  # is called with each user whose quota has changed
        self._nats = nats
        self._default = default
        self._quotas: dict[int | str, Quota] = {}
        self._notified = asyncio.Event()

    def of(self, user_id: int | str | None) -> Quota:
        """Return the current quota of a user; None: the default, for task messages without a valid user id."""
        return self._default if user_id is None else self._quotas.get(user_id, self._default)

    async def run(self) -> None:
        """Read the bucket of quotas, and read it again after each change, until cancelled."""
        await self._nats.subscribe(f"{QUOTAS_BUCKET}.>", cb=self._notice)
        await run_forever("quotas", self._update, every_s=0, retry_after_s=OUTAGE_PAUSE_S)

    async def _notice(self, _: Msg) -> None:
        self._notified.set()

    async def _update(self) -> None:
        """Read the bucket of quotas, then wait for a change of the bucket, but at most READ_EVERY_S.

        Raises:
            NatsError: NATS does not answer.
        """
        self._notified.clear()
        await self.read()
        await wait_up_to(READ_EVERY_S, self._notified)

    async def read(self) -> None:
        """Read all quotas from the bucket, and call `self.changed` with the id of each user whose quota has changed.

        Raises:
            NatsError: NATS does not answer.
        """
        quotas: dict[int | str, Quota] = {}
        problems: list[Problem] = []
        async for page in stream_pages.pages(self._nats, key_value_stream(QUOTAS_BUCKET), f"{QUOTA_KEYS}>"):
            for message in page:
                self._read_entry(message, quotas, problems)
        before, self._quotas, self.problems = self._quotas, quotas, problems
        for user_id in {user_id for user_id, _ in before.items() ^ quotas.items()}:
            self.changed(user_id)

    def _read_entry(self, message: RawStreamMsg, quotas: dict[int | str, Quota], problems: list[Problem]) -> None:
        """Add the quota in an entry of the bucket to `quotas`; ignore a deleted entry.

        If the entry is invalid, add a problem to `problems`; the user's last valid quota, if any, is added to `quotas`
        instead.
        """
        if "KV-Operation" in (message.headers or {}):
            return  # the entry was deleted
        entry = read_quota((message.subject or "").removeprefix(QUOTA_KEYS), message.data or b"")
        if entry.user_id is not None and entry.quota is not None:
            quotas[entry.user_id] = self._default._replace(**entry.quota.model_dump(exclude_none=True))
            return
        next_step = _DELETE.format(key=entry.key) if entry.user_id is None else _REPAIR
        problems.append(Problem(what=f"The quota {entry.name} is not valid: {entry.problem}", next_step=next_step))
        if problems[-1] not in self.problems:  # reported once, not at each reading
            log.warning("quota_invalid", user=entry.user_id, key=entry.key, reason=entry.problem)
        if entry.user_id is not None and entry.user_id in self._quotas:
            quotas[entry.user_id] = self._quotas[entry.user_id]


def exceeded(quota: Quota) -> ErrorDetail:
    """Return the error of a task whose user already has as many waiting tasks as the quota allows."""
    message = (
        f"The user already has as many waiting tasks as the operator allows ({quota.max_waiting}): publish the task "
        "later, under a new id."
    )
    return ErrorDetail(code=ErrorCode.QUOTA_EXCEEDED, message=message)
