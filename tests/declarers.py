"""Programs that know the names of the service's streams, and not what these are for."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from faststream import FastStream
from faststream.nats import NatsBroker, PullSub
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from tests.programs import output

NODE = Path(__file__).parents[1] / "tools/node"
SUBJECTS = {
    "transcription_tasks": "tasks.>",
    "transcription_progress": "progress.*",
    "transcription_segments": "segments.*",
    "transcription_speakers": "speakers.*",
    "transcription_results": "results.*",
    "transcription_erased": "erased.*",
    "transcription_dead_letters": "dead_letters.*",
    "transcription_live": "live.audio.*",
    "transcription_retention": "retention.>",
    "OBJ_results": "$O.results.>",
    "OBJ_audio": "$O.audio.>",
}
LOGS = [
    "transcription_progress",
    "transcription_segments",
    "transcription_speakers",
    "transcription_results",
    "transcription_erased",
    "transcription_dead_letters",
]
CONSUMERS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "durable": {"durable": "theirs"},
    "pull": {"durable": "theirs", "pull_sub": PullSub(batch_size=5)},
}
_NODE_PROGRAM = """
import { connect } from "@nats-io/transport-node";
import { jetstreamManager } from "@nats-io/jetstream";
const nc = await connect({ servers: process.env.NATS_URL, name: "node" });
const { streams } = await jetstreamManager(nc);
for (const [name, subject] of Object.entries(JSON.parse(process.argv[1]))) {
  const config = { name, subjects: [subject] };
  for (const declare of [() => streams.add(config), () => streams.update(name, config)]) {
    console.log(name, await declare().then(() => "changed", (error) => `refused: ${error.message}`));
  }
}
await nc.close();
"""


@asynccontextmanager
async def faststream_consumer(url: str, stream: str, **options: Any) -> AsyncIterator[BaseException | None]:
    """An application as FastStream's guide shows it; yields why it has not started."""
    broker = NatsBroker(url.split(","), name="their-application", apply_types=False)

    async def handle(body: bytes) -> None:
        """Receive a message, and do nothing."""

    broker.subscriber(SUBJECTS[stream], stream=stream, **options)(handle)
    try:
        await FastStream(broker).start()
    except NatsError as error:
        yield error
    else:
        yield None
    finally:
        await broker.stop()


async def node_program(url: str, declared: str) -> str:
    """What nats.js says when it adds and updates streams; `declared` has subjects by stream, as JSON."""
    command = (Path(sys.executable).parent / "node", "--input-type=module", "-e", _NODE_PROGRAM, declared)
    return await output(url, *command, cwd=NODE)


async def stripped(js: JetStreamContext, stream: str) -> None:
    """Take from a stream all that nats-server lets a client take who knows what cannot be taken back."""
    old = (await js.stream_info(stream)).config
    await js.update_stream(
        StreamConfig(
            name=stream,
            subjects=sorted({*(old.subjects or []), SUBJECTS[stream]}) if stream in LOGS else old.subjects,
            retention=old.retention,
            num_replicas=old.num_replicas,
            deny_delete=old.deny_delete,
            deny_purge=old.deny_purge,
            allow_msg_schedules=old.allow_msg_schedules,
            allow_rollup_hdrs=bool(old.allow_msg_schedules),
        )
    )
