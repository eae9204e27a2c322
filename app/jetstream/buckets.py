"""Stores values in Key-Value buckets, which may be full."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from nats.js import JetStreamContext
from nats.js.errors import APIError
from natscribe.jetstream.error_codes import QUEUE_FULL, STORAGE_FULL
from natscribe.jetstream.retries import retry_until_reply

from app.errors import BucketFullError
from app.jetstream.key_value import key_value_subject

_FULL: Final = {QUEUE_FULL, *STORAGE_FULL}


async def put(js: JetStreamContext, bucket: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
    """Store a value, with headers that `nats.js.kv` cannot send.

    Raises:
        BucketFullError: The bucket has no room.
        NatsError: NATS does not answer, or refuses the value for another reason.
    """
    publish = partial(js.publish, key_value_subject(bucket, key), value, headers=dict(headers))
    try:
        await retry_until_reply(publish, final=_FULL)
    except APIError as error:
        if error.err_code in _FULL:
            raise BucketFullError(bucket) from error
        raise
