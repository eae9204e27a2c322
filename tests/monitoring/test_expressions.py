"""Every expression of rules, dashboard and runbook returns data, where a service is under load."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import yaml
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.headers import AUDIO_SECONDS
from natscribe.schemas.wire import Priority, TaskType

from app.engines.messages import Diarize, FindWindows, Job, Reply
from app.runtime.errors import PermanentError, TransientError
from app.settings import Settings
from tests.access.servers import GuardedNats, GuardedValkey, connected, login
from tests.conftest import quick_settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.monitoring.stack import DEPLOYED, ROOT, Prometheus, prometheus, rules, serving
from tests.servers import Servers
from tests.waiting import eventually
from tests.workers import working

RUNBOOK = ROOT / "docs/runbook.md"
WITHIN = 45  # seconds
SPEED = 15  # times as fast as deployed: a scrape each second
PACE = 0.05  # seconds from one task to the next
AUDIO = {"codec": "pcm_s16le", "sample_rate": 8000}
SPEECH = bytes(11 * 16_000)  # for the fake engine an utterance, and the begin of another
CHOSEN = {
    "$queue": ".+",
    "$task": ".+",
    "$worker": ".+",
    "$__rate_interval": "10s",
    "$__range": "1m",
}  # as Grafana does
BROKEN = PermanentError(ErrorCode.ENGINE_FAILED, "The engine cannot do this one.")
DIED = TransientError(ErrorCode.ENGINE_FAILED, "The engine died.")


class TroubledEngine(FakeEngine):
    """Fails one job in five for good, and gives up another one after its first window, so that it is resumed."""

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        if isinstance(job, FindWindows | Diarize) and len(self.jobs) % 5 == 1:
            self.fail_with = [BROKEN]
        async for reply in super().run(job):
            yield reply

    async def transcribes(self, number: int) -> None:
        if number == 1 and len(self.jobs) % 5 == 3:
            raise DIED


async def publish_for_ever(publisher: Publisher) -> None:
    """All queues in turn, some ids twice, and never much before the worker."""
    queues = itertools.cycle(itertools.product(TaskType, Priority))
    for number, (kind, priority) in enumerate(queues):
        task = {"task_id": f"t{number}", "user_id": 7}
        task |= {"audio": AUDIO, "idle_seconds": 1} if kind is TaskType.LIVE else {"audio_file_id": "meeting.flac"}
        for _ in range(1 + (number % 4 < 2)):
            await publisher.js.publish(
                subjects.tasks(kind, priority), json.dumps(task).encode(), headers={AUDIO_SECONDS: "30"}
            )
        if kind is TaskType.LIVE:
            await publisher.js.publish(
                subjects.live_audio(f"t{number}"), SPEECH, headers={"Nats-Msg-Id": f"t{number}-0"}
            )
        if number % 3 == 0:
            async for _ in publisher.events(f"t{number}"):
                pass
        await asyncio.sleep(PACE)


@asynccontextmanager
async def load(publisher: Publisher) -> AsyncIterator[None]:
    work = asyncio.create_task(publish_for_ever(publisher))
    try:
        yield
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


def without_thresholds(expr: str) -> str:
    """The same expression, where a comparison is 0 or 1: a quiet alert has no data, but what it compares has."""
    parts = re.split(r"(\{[^}]*\})", expr)  # a label's matcher is no comparison
    parts[::2] = [re.sub(r"(?<=\s)(==|>=|<=|>|<)(?= )", r"\1 bool", part) for part in parts[::2]]
    return "".join(parts).replace("absent(", "(")


def expressions() -> Iterator[str]:
    for rule in rules():
        yield rule["expr"]
    yield from re.findall(r"promtool query instant \S+ '(.+)'", RUNBOOK.read_text(encoding="utf-8"))
    dashboard = json.loads((DEPLOYED / "grafana/dashboards/natscribe.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"]
            for name, value in CHOSEN.items():
                expr = expr.replace(name, value)
            yield expr


async def labels_are_known(server: Prometheus) -> bool:
    dashboard = json.loads((DEPLOYED / "grafana/dashboards/natscribe.json").read_text(encoding="utf-8"))
    queries = [
        variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"
    ]
    for query in queries:
        named = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
        assert named is not None
        metric, label = named.groups()
        if not (await server.query_api(f"/api/v1/label/{label}/values", **{"match[]": metric}))["data"]:
            return False
    return bool(queries)


@pytest.fixture
def settings(guarded: GuardedNats, valkey: GuardedValkey, recordings_folder: Path) -> Settings:
    quick = quick_settings(Servers(guarded.url, valkey.url_of("service")), recordings_folder)
    return login(quick, "service")


@pytest.fixture
async def publisher(guarded: GuardedNats) -> AsyncIterator[Publisher]:
    async with connected(guarded, "publisher") as connection:
        yield Publisher(connection)


def scaling() -> Iterator[str]:
    """The queries by which workers are scaled, but for those that use the exporter of NATS."""
    text = (ROOT / "deploy/kubernetes/workers/scaling.yaml").read_text(encoding="utf-8")
    for trigger in yaml.safe_load(text)["spec"]["triggers"]:
        if "nats_" not in trigger["metadata"]["query"]:
            yield trigger["metadata"]["query"]


async def test_every_expression_returns_data(publisher: Publisher, settings: Settings, tmp_path: Path) -> None:
    # Given a worker under a load that has all kinds of ends, scraped by Prometheus with the rules
    missing = {without_thresholds(expr) for expr in (*expressions(), *scaling())}
    count = len(missing)
    async with (
        working(settings, TroubledEngine()) as worker,
        serving(worker.app) as port,
        prometheus(tmp_path / "prometheus", port, speed=SPEED) as server,
        load(publisher),
    ):
        # When each expression is evaluated until it has data
        async def none_is_missing() -> bool:
            for expr in sorted(missing):
                if await server.has(expr):
                    missing.discard(expr)
            return not missing

        with suppress(AssertionError):
            await eventually(none_is_missing, within=WITHIN)
        # Then each has had some, and so have the lists to choose from
        assert sorted(missing) == []
        assert await labels_are_known(server)
    print(f"{count} expressions of rules, dashboard and runbook return data")
