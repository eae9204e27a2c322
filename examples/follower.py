"""Receive every result, including those published while this service was down: `python follower.py`."""

import asyncio
import json
import os
import ssl
from typing import Any

import nats
from nats.errors import TimeoutError as NoMessageError
from nats.js import JetStreamContext
from nats.js.errors import ServiceUnavailableError


async def whole_result(js: JetStreamContext, body: bytes) -> Any:
    """Return the whole result, from the bucket if it is too large for a message."""
    result = json.loads(body)
    if result["object"]:
        bucket = await js.object_store(result["object"]["bucket"])
        result = json.loads((await bucket.get(result["object"]["name"])).data or b"")
    return result


async def main() -> None:
    env = os.environ.get
    nc = await nats.connect(
        env("NATS_URL", "nats://localhost:4222").split(","),
        user=env("NATS_USER"),
        password=env("NATS_PASSWORD"),
        inbox_prefix=env("NATS_INBOX_PREFIX", "_INBOX"),
        tls=ssl.create_default_context(cafile=env("NATS_TLS_CA_FILE")),  # used if the server asks for TLS
        max_reconnect_attempts=-1,
    )
    js = nc.jetstream()
    # Durable: the server stores the position of this service, and does not repeat acknowledged messages.
    results = await js.pull_subscribe("results.*", durable="follower", stream="transcription_results")
    while True:
        try:
            messages = await results.fetch(10, timeout=30)
        except NoMessageError:
            continue
        except ServiceUnavailableError:  # in a cluster, while the servers elect a new leader or the consumer is new
            await asyncio.sleep(1)
            continue
        for message in messages:
            result = await whole_result(js, message.data)
            print(result["task_id"], result["kind"], f"{result['duration']} s,", len(result["segments"]), "segments")
            await message.ack()


if __name__ == "__main__":
    asyncio.run(main())
