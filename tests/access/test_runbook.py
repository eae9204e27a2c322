"""The steps of the runbook: each command is run, or its requests are sent, as the user that the runbook names."""

import re
import shlex
from datetime import timedelta
from pathlib import Path

import pytest
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext
from natscribe.client import Client
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import ProgressEvent

from app.main import Worker
from app.runtime.errors import PermanentError
from app.settings import Settings
from tests.access.servers import DEPLOY, RECORDING, GuardedNats, connected, inbox, login, natscribe
from tests.containers.compose import ROOT
from tests.fakes.engine import FakeEngine

RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
BROKEN = PermanentError(ErrorCode.ENGINE_FAILED, "The engine cannot do this one.")
STEP = re.compile(r"^((?:natscribe|nats) .+?)(?: +# as (\w+))?$", re.MULTILINE)
STEPS = {(command, user or "operator") for command, user in STEP.findall(RUNBOOK)}
USERS = sorted({user for _, user in STEPS})


@pytest.fixture
def engine() -> FakeEngine:
    fake = FakeEngine()
    fake.fail_with = [BROKEN] * 100
    return fake


async def failed_task(settings: Settings) -> str:
    """A task that has failed, so that there is a dead letter."""
    async with Client(login(settings, "publisher")) as publisher:
        task = await publisher.create_transcription_task(RECORDING)
        assert [event async for event in publisher.follow(task) if isinstance(event, ProgressEvent)]
    return task


async def edit(js: JetStreamContext, stream: str, option: str, value: str) -> None:
    """The requests of `nats stream edit`: for the stream as it is, and for the changed one."""
    config = (await js.stream_info(stream)).config
    match option:
        case "--max-msgs-per-subject":
            changed = config.evolve(max_msgs_per_subject=int(value))
        case "--max-age":
            changed = config.evolve(max_age=timedelta(days=float(value.removesuffix("d"))).total_seconds())
        case _:
            pytest.fail(f"no request is known for nats stream edit {option}")
    assert (await js.update_stream(changed)).config == changed


async def nats_request(connection: Nats, words: list[str]) -> None:
    """Send what a command of `nats` sends."""
    match words:
        case ["stream", "edit", stream, option, value, "--inbox-prefix", _]:
            await edit(connection.jetstream(), stream, option, value)
        case ["subscribe", subject, *_]:
            await connection.subscribe(subject)
            await connection.flush()
        case _:
            pytest.fail(f"no request is known for nats {words}")


@pytest.mark.timeout(300)  # each command is a process, which a busy machine starts slowly
@pytest.mark.parametrize("user", USERS)
async def test_the_named_user_may_take_each_step(
    guarded: GuardedNats, settings: Settings, worker: Worker, user: str, tmp_path: Path
) -> None:
    async with connected(guarded, user) as connection:
        for command in sorted(command for command, named in STEPS if named == user):
            # Given a task that has failed
            task = await failed_task(settings)
            program, *words = shlex.split(command.replace("TASK_ID TASK_ID", task).replace("TASK_ID", task))
            # When the step is taken
            if program == "natscribe":
                status, output = await natscribe(settings, user, *words, folder=tmp_path)
                assert status == 0, output
            else:
                assert "--inbox-prefix" not in words or words[-1] == inbox(user)
                await nats_request(connection, words)
            # Then NATS refuses nothing
            assert guarded.refused() == [], command


def test_every_step_names_a_program_that_is_known() -> None:
    programs = {
        line.split()[0] for block in re.findall(r"```sh\n(.*?)```", RUNBOOK, re.DOTALL) for line in block.splitlines()
    }
    assert programs <= {"natscribe", "nats", "docker", "echo", "set"}
    assert USERS == ["admin", "operator", "publisher"]
    assert "admin" in (DEPLOY / "secrets.sh").read_text(encoding="utf-8")


def test_containers_are_those_of_compose() -> None:
    services = set(re.findall(r"docker compose (?:exec|restart|stop|start) (\w+)", RUNBOOK))
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert services
    assert all(f"\n  {service}:\n" in compose for service in services)
    # And what is set in .env has a meaning there
    for name in set(re.findall(r"^echo (\w+)=", RUNBOOK, re.MULTILINE)):
        assert f"{{{name}:-" in compose or f"\n      {name}:\n" in compose, name
