"""The Key-Value buckets that only the service uses: their configuration, their streams, and writes with headers."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamConfig
from nats.js.errors import APIError
from natscribe.jetstream.error_codes import QUEUE_FULL, STORAGE_FULL
from natscribe.jetstream.repeated_requests import retry_until_reply
from natscribe.jetstream.streams import stream_config

from app.runtime.errors import BucketFullError

VOICES_BUCKET: Final = "voices"  # enrolled voices
EMBEDDINGS_BUCKET: Final = "embeddings"  # of the speakers of each task with a result
FLEET_BUCKET: Final = "fleet"  # the lease of fleet-wide duties
FULL_CODES: Final = {QUEUE_FULL, *STORAGE_FULL}  # err_codes of nats-server


def key_value_stream(bucket: str) -> str:
    """Return the name of the stream in which JetStream stores a Key-Value bucket."""
    return f"KV_{bucket}"


def key_value_subject(bucket: str, key: str) -> str:
    """Return the subject on which JetStream stores the value of a key in a Key-Value bucket."""
    return f"$KV.{bucket}.{key}"


def key_value_bucket(bucket: str, *, ttl_s: float = 0.0) -> StreamConfig:
    """Return the configuration of a Key-Value bucket without history; values expire after `ttl_s` seconds (0: never).

    A full bucket refuses new values; by default, it would drop the oldest.
    """
    return stream_config(
        key_value_stream(bucket),
        [key_value_subject(bucket, ">")],
        ttl_s,
        discard=DiscardPolicy.NEW,
        max_msgs_per_subject=1,
        allow_rollup_hdrs=True,
        allow_msg_ttl=True,
        deny_delete=True,
    )


async def put(js: JetStreamContext, bucket: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
    """Store a value of a Key-Value bucket with headers, which `nats.js.kv` cannot send.

    Raises:
        BucketFullError: The bucket has no room.
        NatsError: NATS does not answer, or refuses the value for another reason.
    """
    publish = partial(js.publish, key_value_subject(bucket, key), value, headers=dict(headers))
    try:
        await retry_until_reply(publish, final=FULL_CODES)
    except APIError as error:
        if error.err_code in FULL_CODES:
            raise BucketFullError(bucket) from error
        raise
