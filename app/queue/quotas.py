"""Quotas: how much of the service each user may use, from the settings and, for single users, from a Key-Value bucket.

Operators write the bucket. The key of an entry is the user id as JSON, in URL-safe Base64 without padding, because a
key may not have all the characters of a user id: `NDI` is the key of the user 42, and `ImFubmEi` that of `"anna"`.
"""

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg
from natscribe.jetstream import stream_pages
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.problems import problems_of
from natscribe.schemas.wire import UserId
from natscribe.schemas.workers import Problem
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from app.jetstream.key_value import QUOTAS_BUCKET, key_value_stream, key_value_subject
from app.queue.fair_queue import Quota
from app.supervision import OUTAGE_PAUSE_S, run_forever, wait_up_to

READ_EVERY_S: Final = 60.0  # even without a notice of a change, which an outage may have swallowed
MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000.0
_USER: Final[TypeAdapter[int | str]] = TypeAdapter(UserId)
_KEYS: Final = key_value_subject(QUOTAS_BUCKET, "")
_REPAIR: Final = f"Correct or delete the entry (nats kv put {QUOTAS_BUCKET} KEY VALUE, nats kv del {QUOTAS_BUCKET} KEY)"

log = structlog.get_logger()


class StoredQuota(BaseModel):
    """The quota of one user, as stored in the bucket of quotas.

    `weight`: how much work the user gets in relation to other users. `max_running`, `max_waiting`: how many
    tasks of the user may run and wait; None: the limit in the settings applies; 0: no limit.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    weight: float = Field(1.0, ge=MIN_WEIGHT, le=MAX_WEIGHT)
    max_running: int | None = Field(None, ge=0)
    max_waiting: int | None = Field(None, ge=0)


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
        async for page in stream_pages.pages(self._nats, key_value_stream(QUOTAS_BUCKET), f"{_KEYS}>"):
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
        key, user_id = (message.subject or "").removeprefix(_KEYS), None
        try:
            user_id = _user_of(key)
            entry = StoredQuota.model_validate_json(message.data or b"")
            quotas[user_id] = self._default._replace(**entry.model_dump(exclude_none=True))
        except ValueError as error:
            reason = "its key is no user id in Base64"
            if user_id is not None and isinstance(error, ValidationError):
                reason = problems_of(error)
            problems.append(Problem(what=f"The quota {key} is not valid: {reason}", next_step=_REPAIR))
            if problems[-1] not in self.problems:  # reported once, not at each reading
                log.warning("quota_invalid", key=key, reason=reason)
            if user_id is not None and user_id in self._quotas:
                quotas[user_id] = self._quotas[user_id]


def exceeded(quota: Quota) -> ErrorDetail:
    """Return the error of a task whose user already has as many waiting tasks as the quota allows."""
    message = (
        f"The user already has as many waiting tasks as the operator allows ({quota.max_waiting}): publish the task "
        "later, under a new id."
    )
    return ErrorDetail(code=ErrorCode.QUOTA_EXCEEDED, message=message)


def _user_of(key: str) -> int | str:
    """Return the user id that a key of the bucket encodes.

    Raises:
        ValueError: The key encodes no user id.
    """
    return _USER.validate_json(urlsafe_b64decode(f"{key}=="), strict=True)  # more padding than is missing does no harm
