"""A page in a browser uses NATS by WebSocket with the permissions of its user only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.command.embedded import free_port
from tests.access.documented_users import configuration
from tests.access.servers import GuardedNats, GuardedValkey, password, service_settings
from tests.audio import tone, wav
from tests.fakes.engine import FakeEngine
from tests.faults import make_certificates
from tests.programs import BIN, output
from tests.servers import running_server
from tests.workers import working

pytestmark = pytest.mark.node

ROOT = Path(__file__).parents[2]
NODE, BROWSER = ROOT / "tools/node", ROOT / "web"
PAGE = """
import { wsconnect } from "@nats-io/nats-core";

const [servers, pass] = process.argv.slice(1);
const nc = await wsconnect({ servers, user: "publisher", pass, inboxPrefix: "_INBOX_publisher" });
nc.publish("partials.live-1", "{}");
nc.publish("append.results.live-1", "{}");
await nc.flush();
await nc.close();
"""


@asynccontextmanager
async def server_for_pages(
    folder: Path, valkey: GuardedValkey, monkeypatch: pytest.MonkeyPatch, **options: Path
) -> AsyncIterator[tuple[GuardedNats, str]]:
    """A server that pages in a browser reach at the address that comes with it, and a worker."""
    certificates = make_certificates(folder / "nats/secrets")
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(certificates / "ca.crt"))
    port = free_port()
    async with running_server(GuardedNats(folder / "nats", websocket=port, **options)) as server:
        async with working(service_settings(server.url, valkey), FakeEngine()):
            yield server, f"wss://localhost:{port}"


async def printed_by(page: str, server: GuardedNats, *arguments: str, folder: Path) -> list[str]:
    """The lines that the script of a page prints."""
    script = (str(BIN / "node"), "--input-type=module", "--eval", page, "--", *arguments)
    return (await output(server.url, *script, cwd=folder)).splitlines()


async def test_a_page_may_not_publish_what_only_the_service_may(
    tmp_path: Path, valkey: GuardedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server_for_pages(tmp_path, valkey, monkeypatch) as (server, address):
        # When a page of a publisher publishes a partial result and a result
        await printed_by(PAGE, server, address, password("publisher"), folder=NODE)
    # Then both are refused
    refused = server.refused()
    assert len(refused) == 2, refused
    assert all(any(subject in line for line in refused) for subject in ("partials.live-1", "append.results.live-1"))


SPOKEN = """
import { connect, Live } from "./live.js";

const [server, user, password, inboxPrefix] = process.argv.slice(1);
const connection = await connect({ server, user, password, inboxPrefix });
const ended = Promise.withResolvers();
const live = new Live(connection, { user_id: 1, audio: { codec: "pcm_s16le", sample_rate: 16000, channels: 1 } }, {
  partial: () => {},
  connected: () => {},
  problem: (error) => error && console.log(error.message),
  segments: ({ segments }) => console.log(...segments.map(({ text }) => text)),
  progress: ({ state }) => state === "completed" && ended.resolve(),
});
await live.start();
for (let second = 0; second < 12; second++) live.send(new Uint8Array(32000), 1);
await live.end();
await ended.promise;
console.log((await live.result()).source);
await connection.close();
"""


TRANSCRIBED = """
import { readFileSync } from "node:fs";
import { Connection } from "./connection.js";
import { Bucket } from "./objects.js";
import { Tasks } from "./tasks.js";

globalThis.document = { addEventListener() {} };
const [server, user, password, inboxPrefix, file] = process.argv.slice(1);
const connection = new Connection();
await connection.open({ server, user, password, inboxPrefix });
const bucket = new Bucket(connection, "audio");
const tasks = new Tasks(connection, { userId: 1 });
tasks.listen();
const id = crypto.randomUUID();
const name = `${id}-tone.wav`;
const isCompleted = () => tasks.byId.get(id)?.state === "completed";
const completed = new Promise((done) => tasks.addEventListener("change", () => isCompleted() && done()));
const text = Promise.withResolvers();
const { signal } = new AbortController();
await bucket.put(new Blob([readFileSync(file)]), name, id.replaceAll("-", ""), () => {}, signal);
await tasks.publish({ task_id: id, audio_file_id: name, user_id: 1 }, { seconds: 12 });
const stop = await tasks.segments(id, ({ segments }) => text.resolve(segments[0].text));
await completed;
console.log(await text.promise, (await tasks.result(id, "txt")).length > 0, (await bucket.get(name)).size);
await stop();
await tasks.refresh();
console.log((await tasks.status(id)).state, tasks.byId.has(id));
console.log(await new Bucket(connection, "results").get(id).catch(({ code }) => code)); // a small result is not there
const consent = { by: "Anna", at: new Date().toISOString() };
const enrolment = { user_id: 1, task_id: id, name: "Anna", consent };
console.log(await connection.request("voices.enroll", enrolment).catch(({ code }) => code));
await tasks.cancel(id);
await tasks.delete(id);
await connection.close();
process.exit();
"""


@pytest.mark.parametrize("user", ["publisher", "page"])
async def test_the_page_of_the_examples_needs_no_more_than_the_rights_of(
    user: str, tmp_path: Path, valkey: GuardedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a user of a page
    login = {
        "publisher": ("publisher", password("publisher"), "_INBOX_publisher"),
        "page": ("page", password("page"), "_INBOX_publisher.page"),
    }[user]
    deploy = configuration(tmp_path / "deploy", monkeypatch)
    recording = tmp_path / "tone.wav"
    recording.write_bytes(wav(tone(12)))
    async with server_for_pages(tmp_path, valkey, monkeypatch, deploy=deploy) as (server, address):
        # When what the page does is done with this user
        lines = await printed_by(SPOKEN, server, address, *login, folder=BROWSER)
        more = await printed_by(TRANSCRIBED, server, address, *login, str(recording), folder=BROWSER)
    # Then the text has come, of live audio and of a recording, and nothing was refused
    assert lines == ["one two", "one two", "live"]
    assert more == [f"one two true {recording.stat().st_size}", "completed true", "10037", "not_found"]
    assert server.refused() == []
