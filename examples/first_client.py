"""Upload a recording, publish a task, follow it, print the text: `python first_client.py RECORDING`."""

import asyncio
import json
import os
import ssl
import sys

import nats


async def main(recording: str) -> None:
    nc = await nats.connect(
        os.getenv("NATS_URL", "nats://localhost:4222").split(","),
        user=os.getenv("NATS_USER"),
        password=os.getenv("NATS_PASSWORD"),
        inbox_prefix=os.getenv("NATS_INBOX_PREFIX", "_INBOX"),
        tls=ssl.create_default_context(cafile=os.getenv("NATS_TLS_CA_FILE")),  # used if the server asks for TLS
    )
    js = nc.jetstream()
    task_id = os.urandom(16).hex()  # a new id for each task: an existing id has no effect
    with open(recording, "rb") as file:
        await (await js.object_store("audio")).put(task_id, file)
    task = {"task_id": task_id, "audio_file_id": task_id, "user_id": 1, "diarize": True}
    await js.publish("tasks.transcription.normal", json.dumps(task).encode(), headers={"Nats-Msg-Id": task_id})
    progress = await js.subscribe(f"progress.{task_id}", stream="transcription_progress", ordered_consumer=True)
    async for message in progress.messages:
        event = json.loads(message.data)
        print(event["state"], event["stage"], event["progress"], "%")
        if event["state"] in {"completed", "failed", "cancelled"}:
            break
    print((await nc.request("tasks.result", b'{"task_id": "%s", "format": "txt"}' % task_id.encode())).data.decode())
    await nc.close()
    sys.exit(event["state"] != "completed")  # of a failed task, the result is its error


if not sys.argv[1:]:
    sys.exit(__doc__)
asyncio.run(main(sys.argv[1]))
