"""A page in a browser speaks NATS by WebSocket, with the rights of its user and no others."""

from pathlib import Path

import pytest

from app.embedded import free_port
from app.settings import Settings
from tests.access.servers import GuardedValkey, guarded_nats, login, password
from tests.access.test_tls import make_certificates
from tests.fakes.engine import FakeEngine
from tests.programs import BIN, output
from tests.workers import working

pytestmark = pytest.mark.node

NODE = Path(__file__).parents[2] / "tools/node"
PAGE = """
import { headers, wsconnect } from "@nats-io/nats-core";
import { jetstream } from "@nats-io/jetstream";

const [servers, pass] = process.argv.slice(1);
const nc = await wsconnect({ servers, user: "publisher", pass, inboxPrefix: "_INBOX_publisher" });
const js = jetstream(nc, { checkAPI: false });
const partials = nc.subscribe("partials.live-1", { max: 1 });
const progress = nc.subscribe("progress.live-1");
let number = 0;
const speak = async (seconds, end) => {
  const given = headers();
  if (end) given.set("Natscribe-End", "true");
  const sound = new Uint8Array(32000 * seconds);
  await js.publish("live.audio.live-1", sound, { msgID: `live-1-${number++}`, headers: given });
};
await js.publish("tasks.live.high", JSON.stringify({ task_id: "live-1", user_id: 1 }), { msgID: "live-1" });
await speak(3, false);
for await (const partial of partials) console.log(partial.json().text);
await speak(1, true);
for await (const event of progress) {
  if (event.json().state === "completed") break;
}
nc.publish("partials.live-1", "{}");
nc.publish("append.results.live-1", "{}");
await nc.flush();
await nc.close();
"""


async def test_a_page_speaks_with_the_rights_of_its_user(
    tmp_path: Path, valkey: GuardedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server with a port for browsers, and a worker
    certificates = make_certificates(tmp_path / "nats/secrets")
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(certificates / "ca.crt"))
    port = free_port()
    async with guarded_nats(tmp_path / "nats", websocket=port) as server:
        settings = Settings(_env_file=None, nats_url=server.url, redis_url=valkey.url_of("service"))
        async with working(login(settings, "service"), FakeEngine()):
            # When a page of a publisher publishes sound, and in the end what only the service may
            page = [f"wss://localhost:{port}", password("publisher")]
            said = await output(server.url, BIN / "node", "--input-type=module", "--eval", PAGE, "--", *page, cwd=NODE)
        # Then it has read what was being said, and only the last two messages were refused
        assert said.splitlines() == ["one two"]
        refused = server.refused()
    assert len(refused) == 2, refused
    assert all(any(subject in line for line in refused) for subject in ("partials.live-1", "append.results.live-1"))
