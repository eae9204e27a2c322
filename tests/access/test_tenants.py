"""What NATS does for tenants with an account each; decision 36 says what the service lacks to use it.

Clients stay as they are: each publishes tasks and follows logs under the subjects of the contract. In the service's
account these subjects have the name of the tenant's account.
"""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ExternalStream, RePublish, RetentionPolicy, StreamConfig, StreamSource, SubjectTransform

from app.embedded import NatsServer, free_port
from tests.servers import in_memory
from tests.waiting import eventually

LOG = "transcription_progress"
ACME, ZEN = "ACME", "ZEN"

# The server compares the token at `account_token_position` with the name of the importing account. It refuses imports
# of `$JS.FC.>` in both directions as a cycle, so each direction has the name of its stream.
SERVICE = """
  SERVICE {
    jetstream: enabled, users: [{ user: SERVICE, password: SERVICE }]
    exports: [
      { service: "direct.*.tasks.>", account_token_position: 2 }
      { stream: "progress.*.*", account_token_position: 2 }
      { stream: "copies.*.>", account_token_position: 2 }
      { service: "$JS.API.CONSUMER.CREATE.%(log)s.*.progress.*.*", account_token_position: 8 }
      { service: "$JS.FC.%(log)s.>" }
    ]
    imports: [%(tasks)s]
  }
"""
TASKS = """
      { service: { account: %(name)s, subject: "$JS.API.CONSUMER.>" }, to: "%(name)s.API.CONSUMER.>" }
      { service: { account: %(name)s, subject: "$JS.FC.tasks.>" } }
      { stream: { account: %(name)s, subject: "tasks_of.%(name)s.>" } }"""
TENANT = """
  %(name)s {
    jetstream: enabled, users: [{ user: %(name)s, password: %(name)s }]
    exports: [
      { service: "$JS.API.CONSUMER.>", accounts: [SERVICE], response_type: stream }
      { service: "$JS.FC.tasks.>", accounts: [SERVICE] }
      { stream: "tasks_of.%(name)s.>", accounts: [SERVICE] }
    ]
    imports: [
      { service: { account: SERVICE, subject: "direct.%(calls_itself)s.tasks.>" }, to: "direct.tasks.>" }
      { stream: { account: SERVICE, subject: "progress.%(name)s.*" }, to: "progress.*" }
      { stream: { account: SERVICE, subject: "copies.%(name)s.>" } }
      { service: { account: SERVICE, subject: "$JS.API.CONSUMER.CREATE.%(log)s.*.progress.%(name)s.*" },
        to: "service.API.CONSUMER.CREATE.%(log)s.*.progress.%(name)s.*" }
      { service: { account: SERVICE, subject: "$JS.FC.%(log)s.>" } }
    ]
  }
"""


def accounts(calls_itself: dict[str, str]) -> str:
    """The accounts of the service and of two tenants; each names an account, its own or another one, in its import."""
    tenants = [{"name": name, "calls_itself": calls_itself.get(name, name), "log": LOG} for name in (ACME, ZEN)]
    service = SERVICE % {"log": LOG, "tasks": "".join(TASKS % tenant for tenant in tenants)}
    return f"accounts {{ {service} {''.join(TENANT % tenant for tenant in tenants)} }}\n"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[NatsServer]:
    with in_memory() as folder:
        server = NatsServer(folder, free_port(), more_config=accounts({}))
        await server.start()
        yield server
        await server.stop()


@pytest_asyncio.fixture
async def clients(server: NatsServer) -> AsyncIterator[dict[str, Nats]]:
    """One connection of each account."""
    clients = {name: await nats.connect(server.url, user=name, password=name) for name in ("SERVICE", ACME, ZEN)}
    yield clients
    for client in clients.values():
        await client.close()


@pytest.fixture
def service(clients: dict[str, Nats]) -> JetStreamContext:
    return clients["SERVICE"].jetstream()


async def stored(js: JetStreamContext, stream: str) -> dict[str, int]:
    return (await js.stream_info(stream, subjects_filter=">")).state.subjects or {}


def test_no_tenant_takes_the_name_of_another(tmp_path: Path) -> None:
    # Given accounts in which a tenant imports tasks under the name of another one
    config = tmp_path / "nats.conf"
    config.write_text(accounts({ZEN: ACME}))
    # When a server reads them, then it refuses to start
    command = [NatsServer(tmp_path)._executable(), "-t", "-c", str(config)]  # noqa: SLF001 -- where the binary is
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "service import not authorized" in result.stderr


async def test_the_subject_names_the_tenant(clients: dict[str, Nats], service: JetStreamContext) -> None:
    # Given a service that replies with the subject of each request
    async def reply(request: Msg) -> None:
        await request.respond(request.subject.encode())

    await clients["SERVICE"].subscribe("direct.*.tasks.status", cb=reply)
    await clients["SERVICE"].flush()
    # When tenants send requests and store tasks under the same subject, then the service sees who they are
    for name in (ACME, ZEN):
        assert (await clients[name].request("direct.tasks.status")).data.decode() == f"direct.{name}.tasks.status"
    await service.add_stream(name="tasks", subjects=["direct.*.tasks.*.*"])
    for name in (ACME, ZEN):
        assert (await clients[name].jetstream().publish("direct.tasks.live.low")).stream == "tasks"
    assert await stored(service, "tasks") == {f"direct.{name}.tasks.live.low": 1 for name in (ACME, ZEN)}


async def test_a_shared_stream_drops_a_task_whose_id_another_tenant_has_used(
    clients: dict[str, Nats], service: JetStreamContext
) -> None:
    # Given one task stream, into which tenants publish directly
    await service.add_stream(name="tasks", subjects=["direct.*.tasks.*.*"])
    await clients[ACME].jetstream().publish("direct.tasks.live.low", headers={"Nats-Msg-Id": "t1"})
    # When another tenant publishes a task with the same id
    ack = await clients[ZEN].jetstream().publish("direct.tasks.live.low", headers={"Nats-Msg-Id": "t1"})
    # Then it is acknowledged and lost, because JetStream compares ids, and not subjects
    assert ack.duplicate
    assert await stored(service, "tasks") == {"direct.ACME.tasks.live.low": 1}


async def test_a_stream_of_each_tenant_keeps_ids_apart(clients: dict[str, Nats], service: JetStreamContext) -> None:
    # Given a task stream in the account of each tenant, and one of the service that takes the tasks from them
    for name in (ACME, ZEN):
        queue = StreamConfig(name="tasks", subjects=["tasks.*.*"], retention=RetentionPolicy.WORK_QUEUE)
        await clients[name].jetstream().add_stream(queue)
    sources = [
        StreamSource(
            name="tasks",
            external=ExternalStream(api=f"{name}.API", deliver=f"tasks_of.{name}"),
            subject_transforms=[
                SubjectTransform(src="tasks.*.*", dest=f"tasks.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}.{name}")
            ],
        )
        for name in (ACME, ZEN)
    ]
    await service.add_stream(StreamConfig(name="tasks", sources=sources))
    # When both publish a task with the same id
    for name in (ACME, ZEN):
        await clients[name].jetstream().publish("tasks.live.low", headers={"Nats-Msg-Id": "t1"})

    # Then the service has both, and the subjects say whose they are
    async def both_are_stored() -> bool:
        return await stored(service, "tasks") == {f"tasks.live.low.{name}": 1 for name in (ACME, ZEN)}

    await eventually(both_are_stored)


async def test_a_tenant_follows_its_own_log_in_a_copy(clients: dict[str, Nats], service: JetStreamContext) -> None:
    # Given the log of a task of each tenant, with the same id, and copies in the accounts of the tenants
    transform = SubjectTransform(src="append.progress.>", dest="progress.>")
    republish = RePublish(src="progress.>", dest="progress.>")
    log = StreamConfig(name=LOG, subjects=["append.progress.>"], subject_transform=transform, republish=republish)
    await service.add_stream(log)
    for name in (ACME, ZEN):
        await service.publish(f"append.progress.{name}.t1", name.encode())
        source = StreamSource(
            name=LOG,
            external=ExternalStream(api="service.API", deliver=f"copies.{name}"),
            subject_transforms=[SubjectTransform(src=f"progress.{name}.*", dest="progress.{{wildcard(1)}}")],
        )
        await clients[name].jetstream().add_stream(StreamConfig(name=LOG, sources=[source]))
    # When each follows its task from the first event, as clients do today, then it receives its own events
    for name in (ACME, ZEN):
        following = await clients[name].jetstream().subscribe("progress.t1", stream=LOG, ordered_consumer=True)
        assert (await following.next_msg(timeout=10)).data.decode() == name
    # And nobody can copy those of another
    with pytest.raises(nats.errors.NoRespondersError):
        await clients[ACME].request(f"service.API.CONSUMER.CREATE.{LOG}.x.progress.{ZEN}.*")
    # But what the service erases stays in the copy
    await service.purge_stream(LOG, subject=f"progress.{ACME}.t1")
    assert await stored(service, LOG) == {f"progress.{ZEN}.t1": 1}
    assert await stored(clients[ACME].jetstream(), LOG) == {"progress.t1": 1}
