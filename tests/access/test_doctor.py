"""What the doctor finds about users, on a server with the users of the production stack."""

from collections.abc import AsyncIterator

import pytest
from natscribe.client.examination import Examination, examine
from pydantic import SecretStr

from app.main import Worker
from app.settings import Settings
from tests.access.rules import configured
from tests.access.servers import CLIENTS, GuardedNats, GuardedValkey, inbox, login
from tests.fakes.engine import FakeEngine
from tests.waiting import eventually
from tests.workers import working


@pytest.fixture
def settings(guarded: GuardedNats, valkey: GuardedValkey) -> Settings:
    found = Settings(_env_file=None, nats_url=guarded.url, redis_url=valkey.url_of("service"))
    return login(found, "service")


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[Worker]:
    async with working(settings, FakeEngine()) as service:

        async def loaded() -> bool:
            return service.container.engine.ready

        await eventually(loaded)
        yield service


def problems(found: Examination) -> list[str]:
    return [problem.what for problem in found.problems]


async def test_each_user_learns_what_it_may_do(settings: Settings, worker: Worker) -> None:
    rules = configured()
    for user in CLIENTS:
        # When a user with its own rights examines
        found = await examine(login(settings, user))
        # Then nothing is wrong, and each right is as the server's configuration has it
        assert problems(found) == [], user
        for right in found.rights:
            subject = right.subject.replace("$JS.API.", "$JS.ACK.natscribe.")  # as the accounts map it
            action = "subscribe" if right.command == "top" else "publish"
            assert right.allowed is rules[user].may(action, subject), (user, right)
            # And those are named who may
            assert {other for other in CLIENTS if rules[other].may(action, subject)} == set(right.users), right


@pytest.mark.parametrize("user", ["monitoring", "admin"])
async def test_a_user_without_rights_is_told_which_users_have_some(
    settings: Settings, worker: Worker, user: str
) -> None:
    found = await examine(login(settings, user))
    assert problems(found) == [f"The user '{user}' may send no request of the service"]
    assert found.problems[0].next_step.startswith("log in as publisher, follower or operator")


async def test_a_wrong_password_is_named(settings: Settings) -> None:
    wrong = login(settings, "publisher").model_copy(update={"nats_password": SecretStr("guessed")})
    found = await examine(wrong)
    assert problems(found) == [f"NATS at {settings.nats_url} refuses the login"]
    assert "NATS_PASSWORD" in found.problems[0].next_step
    assert "guessed" not in found.model_dump_json()


async def test_a_wrong_inbox_prefix_is_named(settings: Settings, worker: Worker) -> None:
    wrong = login(settings, "operator").model_copy(update={"nats_inbox_prefix": inbox("service")})
    found = await examine(wrong)
    assert problems(found) == ["NATS does not allow the user 'operator' to receive replies under _INBOX"]
    assert found.problems[0].next_step.startswith("set NATS_INBOX_PREFIX")
