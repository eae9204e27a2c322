"""The messages of a page that sends audio, with the code of the examples."""

import json
from pathlib import Path

import nats
import pytest
from natscribe.jetstream.streams import public_streams

from app.command.embedded import NatsServer, free_port
from app.settings import Settings
from tests.programs import BIN, output

pytestmark = pytest.mark.node

BROWSER = Path(__file__).parents[3] / "web"
PAGE = """
import { connect, Live } from "./live.js";

const connection = await connect({ server: process.argv[1] });
const nothing = () => {};
const live = new Live(connection, { task_id: "t1", audio: { codec: "pcm_s16le", sample_rate: 16000, channels: 1 } }, {
  partial: nothing, connected: nothing, segments: nothing, progress: nothing,
  problem: (error) => error && console.log(error.message),
});
await live.start();
live.send(new Uint8Array(32000), 1);
await live.end();
await connection.close();
"""
RESULT = """
import { Live } from "./live.js";

const replies = JSON.parse(process.argv[1]);
const connection = { request: async () => ({ json: () => replies.shift() }) };
try {
  console.log((await Live.prototype.result.call({ connection, task: { task_id: "t1" } })).text);
} catch (error) {
  console.log(error.message);
}
"""
BUSY = {"error": {"code": "internal", "message": "Ask again in a moment."}}
GONE = {"error": {"code": "not_found", "message": "The result has expired."}}
FOUND = {"task_id": "t1", "text": "Good morning."}


async def test_audio_that_is_lost_to_another_program_is_reported(tmp_path: Path) -> None:
    # Given NATS for pages, and a program that has sent the first frame of a task already
    port = free_port()
    websocket = f'websocket {{ listen: "127.0.0.1:{port}", no_tls: true }}\n'
    server = NatsServer(tmp_path, free_port(), more_config=websocket)
    await server.start()
    try:
        async with await nats.connect(server.url) as nc:
            for stream in public_streams(Settings(_env_file=None).stream_names):
                await nc.jetstream().add_stream(stream)
            await nc.jetstream().publish("live.audio.t1", bytes(3200), headers={"Nats-Msg-Id": "t1-0"})
            # When a page sends audio of the same task
            page = ["--eval", PAGE, "--", f"ws://127.0.0.1:{port}"]
            printed = await output(server.url, BIN / "node", "--input-type=module", *page, cwd=BROWSER)
    finally:
        await server.stop()
    # Then it says that its own is lost
    assert printed == "Another program sends audio of this task, too, and this audio is lost\n"


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        ([BUSY, FOUND], "Good morning."),
        ([GONE, FOUND], "The result has expired."),
        ([BUSY, BUSY, BUSY, FOUND], "Ask again in a moment."),
    ],
    ids=["busy", "gone", "always busy"],
)
async def test_an_error_is_no_result(replies: list[object], message: str) -> None:
    # Given a service that replies with errors
    # When a page requests a result, then it tries again if the error is transient, and shows it if not
    page = ["--eval", RESULT, "--", json.dumps(replies)]
    assert await output("", BIN / "node", "--input-type=module", *page, cwd=BROWSER) == f"{message}\n"
