"""A worker without its permissions ends soon, with one sentence that names its user and the missing permission."""

import asyncio
import json
import os
import sys

import pytest
from uvicorn.config import STARTUP_FAILURE

from app.command.embedded import free_port
from app.main import Worker
from app.settings import Settings
from app.storage.jetstream.connection import StartError
from tests.access.servers import GuardedNats, login
from tests.fakes.engine import FakeEngine
from tests.waiting import patiently

SOON_S = 15.0  # a request that NATS refuses would be unanswered for 30 s


@pytest.mark.parametrize("user", ["publisher", "follower", "operator", "monitoring"])
async def test_another_user_is_named_with_what_it_lacks(settings: Settings, user: str) -> None:
    # Given the login of a user who may not do what workers do
    worker = Worker(login(settings, user), FakeEngine())
    # When a worker starts with it, then it ends soon with an error
    with pytest.raises(StartError, match=f"NATS refuses the user {user} what a worker needs: permissions violation"):
        async with asyncio.timeout(patiently(SOON_S)), worker.app.start_lifespan_context():
            pass


async def test_a_refused_login_is_the_last_line_of_the_log(settings: Settings, guarded: GuardedNats) -> None:
    # Given a password that is wrong
    environment = {"NATS_URL": guarded.url, "NATS_USER": "service", "NATS_PASSWORD": "guessed"}
    # When a worker starts with it
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "faststream", "run", "app.main:app", "--port", str(free_port())),
        env=os.environ | environment | {"REDIS_URL": settings.redis_url},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    # Then each line is JSON, the first says what the worker uses, and the last why it cannot
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["event"] for line in lines] == ["worker_configured", "worker_start_failed"]
    assert lines[0]["nats"] == guarded.url
    assert f"NATS at {guarded.url} refuses the login of the user service" in lines[-1]["error"]
    assert process.returncode == STARTUP_FAILURE
