"""Reads and writes the quotas of single users, in the Key-Value bucket that the service reads."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import nats.errors
from nats.aio.client import Client as Nats
from nats.js.errors import NotFoundError

from natscribe.client.errors import UnreachableError
from natscribe.client.exchange import no_worker_error
from natscribe.schemas.quotas import QUOTA_KEYS, QUOTAS_BUCKET, StoredQuota, UserQuota, key_of, read_quota

STREAM = f"KV_{QUOTAS_BUCKET}"
NO_BUCKET = "NATS has no bucket of quotas, because"


async def quotas(connection: Nats) -> AsyncIterator[UserQuota]:
    """Yield all entries of the bucket, valid or not; for exceptions see `Client.quotas`."""
    js = connection.jetstream()
    with _explained():
        info = await js.stream_info(STREAM, subjects_filter=f"{QUOTA_KEYS}>")
        for subject in info.state.subjects or ():
            with suppress(NotFoundError):  # deleted a moment ago
                stored = await js.get_last_msg(STREAM, subject, direct=True)
                if "KV-Operation" not in (stored.headers or {}):
                    yield read_quota(subject.removeprefix(QUOTA_KEYS), stored.data or b"")


async def set_quota(connection: Nats, user_id: int | str, quota: StoredQuota) -> None:
    """Write a user's entry; for exceptions see `Client.set_quota`."""
    with _explained():
        bucket = await connection.jetstream().key_value(QUOTAS_BUCKET)
        await bucket.put(key_of(user_id), quota.model_dump_json(exclude_none=True).encode())


async def delete_quota(connection: Nats, user_id: int | str) -> bool:
    """Delete the entries of a user, and return whether there was one; for exceptions see `Client.delete_quota`."""
    keys = [entry.key async for entry in quotas(connection) if entry.user_id == user_id]
    with _explained():
        bucket = await connection.jetstream().key_value(QUOTAS_BUCKET)
        for key in keys:
            await bucket.delete(key)
    return bool(keys)


@contextmanager
def _explained() -> Iterator[None]:
    """Convert errors of NATS about the bucket into those of the client."""
    try:
        yield
    except NotFoundError as error:
        raise no_worker_error(NO_BUCKET) from error
    except nats.errors.Error as error:
        what = f"NATS neither reads nor stores quotas ({error})"
        raise UnreachableError(what, "try again in a moment, or read the log of NATS") from error
