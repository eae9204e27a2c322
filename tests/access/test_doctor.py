"""What the doctor finds about users, on a server with the users of the production stack."""

import asyncio

import pytest
from natscribe.client.examination import Examination, examine
from pydantic import SecretStr

from app.main import Worker
from app.settings import Settings
from tests.access.rules import configured
from tests.access.servers import CLIENTS, inbox, login
from tests.waiting import eventually


@pytest.fixture
async def worker(worker: Worker) -> Worker:
    """A worker that has loaded its model."""
    await eventually(lambda: worker.container.engine.ready)
    return worker


def problems(report: Examination) -> list[str]:
    return [problem.what for problem in report.problems]


async def test_each_user_learns_what_it_may_do(settings: Settings, worker: Worker) -> None:
    # When each client examines with its own permissions
    examined = await asyncio.gather(*(examine(login(settings, user)) for user in CLIENTS))
    rules = configured()
    for user, report in zip(CLIENTS, examined, strict=True):
        # Then there is no problem, and each permission is that of the server's configuration
        assert problems(report) == [], user
        assert [each.worker for each in report.workers] == [worker.container.worker_name]
        for right in report.rights:
            subject = right.subject.replace("$JS.API.", "$JS.ACK.natscribe.")  # as the accounts map it
            action = "subscribe" if right.command == "top" else "publish"
            assert right.allowed is rules[user].may(action, subject), (user, right)
            # And those are named who may
            assert {other for other in CLIENTS if rules[other].may(action, subject)} == set(right.users), right


async def test_a_user_who_may_ask_nothing_is_told_which_users_may(settings: Settings, worker: Worker) -> None:
    users = ("monitoring", "admin")
    examined = await asyncio.gather(*(examine(login(settings, user)) for user in users))
    for user, report in zip(users, examined, strict=True):
        assert problems(report) == [f"The user '{user}' may send no request of the service"]
        assert report.problems[0].next_step.startswith("log in as publisher, follower or operator")


async def test_a_wrong_password_and_a_wrong_inbox_prefix_are_named(settings: Settings) -> None:
    # Given a user with another password, and one without its inbox prefix
    guessed = login(settings, "publisher").model_copy(update={"nats_password": SecretStr("guessed")})
    elsewhere = login(settings, "operator").model_copy(update={"nats_inbox_prefix": inbox("service")})
    refused, unheard = await asyncio.gather(examine(guessed), examine(elsewhere))
    # Then the report says what to correct
    assert problems(refused) == [f"NATS at {settings.nats_url} refuses the login"]
    assert "NATS_PASSWORD" in refused.problems[0].next_step
    assert "guessed" not in refused.model_dump_json()
    assert problems(unheard) == ["NATS does not allow the user 'operator' to receive replies under _INBOX"]
    assert unheard.problems[0].next_step.startswith("set NATS_INBOX_PREFIX")


async def test_a_publisher_with_another_store_is_told_the_services(settings: Settings, worker: Worker) -> None:
    # Given a publisher who has no right to the bucket that it names by mistake
    report = await examine(login(settings, "publisher").model_copy(update={"audio_store": "nats://sound"}))
    assert problems(report) == ["The service looks for recordings in nats://audio, not in nats://sound"]
    assert report.problems[0].next_step == "set AUDIO_STORE=nats://audio"
