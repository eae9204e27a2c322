"""Keep each result as a file until its task is erased, even if this was down: `python follower.py FOLDER`."""

import asyncio
import json
import os
import ssl
import sys
from pathlib import Path
from typing import Any

import nats
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NoMessageError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError, ServiceUnavailableError


async def whole_result(js: JetStreamContext, body: bytes) -> Any:
    """Return the whole result, from the bucket if it is too large for a message."""
    result = json.loads(body)
    if result["object"]:
        bucket = await js.object_store(result["object"]["bucket"])
        result = json.loads((await bucket.get(result["object"]["name"])).data or b"")
    return result


async def keep(js: JetStreamContext, message: Msg, folder: Path) -> None:
    try:
        result = await whole_result(js, message.data)
    except NotFoundError:
        return  # its task was erased just now
    file, stored_at = folder / f"{result['task_id']}.json", message.metadata.timestamp.timestamp()
    file.write_text(json.dumps(result), encoding="utf-8")
    os.utime(file, (stored_at, stored_at))
    print(result["task_id"], result["kind"], f"{result['duration']} s,", len(result["segments"]), "segments")


def erase(message: Msg, folder: Path) -> None:
    event = json.loads(message.data)
    file = folder / f"{event['task_id']}.json"
    # The event concerns what was stored before it: a later task may have the same id.
    if file.exists() and file.stat().st_mtime < message.metadata.timestamp.timestamp():
        file.unlink()
        print(event["task_id"], "erased:", event["reason"])


async def next_messages(consumer: JetStreamContext.PullSubscription) -> list[Msg]:
    try:
        return await consumer.fetch(10, timeout=2)
    except NoMessageError:
        return []
    except ServiceUnavailableError:  # in a cluster, while the servers elect a new leader or the consumer is new
        await asyncio.sleep(1)
        return []


async def main(folder: Path) -> None:
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
    folder.mkdir(parents=True, exist_ok=True)
    # Durable: the server stores the position of this service, and does not repeat acknowledged messages.
    results = await js.pull_subscribe("results.*", durable="follower", stream="transcription_results")
    erased = await js.pull_subscribe("erased.*", durable="follower", stream="transcription_erased")
    while True:  # one after the other: a result that was fetched is a file before the event that erases it is read
        for message in await next_messages(results):
            await keep(js, message, folder)
            await message.ack()
        for message in await next_messages(erased):
            erase(message, folder)
            await message.ack()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
