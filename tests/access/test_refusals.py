"""A refused request fails at once, with an error that names the subject and the permitted users."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from natscribe.client import Client, InboxRefusedError, NotAllowedError, RequestFailedError
from natscribe.client.connection import connect
from natscribe.client.permissions import permitted_users
from natscribe.schemas import subjects
from natscribe.schemas.task_queues import QueueOverview
from natscribe.schemas.wire import Kind

from app.main import Worker
from app.settings import Settings
from tests.access.rules import configured, mapped
from tests.access.servers import CLIENTS, RECORDING, GuardedNats, connected, inbox, login, natscribe
from tests.waiting import DEADLINE, eventually, patiently

WINDOWS = subjects.windows("3f9a0c17d2e4b586")
REFUSED_WITHIN_S = 20.0  # seconds; here a request without a reply waits for sixty
Call = Callable[[Client], Awaitable[object]]


async def dead_letters(client: Client) -> object:
    return [letter async for letter in client.dead_letters()]


async def events(client: Client) -> object:
    return [event async for event in client.follow("t1")]


REFUSED: dict[str, dict[str, Call]] = {
    "follower": {
        "cancel": lambda client: client.cancel("t1"),
        "delete": lambda client: client.delete("t1"),
        "transcribe": lambda client: client.create_transcription_task(RECORDING),
        "transcribe what is stored": lambda client: client.create_transcription_task("stored.flac"),
    },
    "operator": {
        "cancel": lambda client: client.cancel("t1"),
        "delete": lambda client: client.delete("t1"),
        "diarize": lambda client: client.create_diarization_task(RECORDING),
    },
    "publisher": {
        "dead-letters list": dead_letters,
        "dead-letters replay": lambda client: client.replay(kind=Kind.DIARIZATION),
        "dead-letters delete": lambda client: client.delete_dead_letters(kind=Kind.DIARIZATION),
    },
    "monitoring": {
        "status": lambda client: client.get_task_progress("t1"),
        "result": lambda client: client.get_task_result("t1"),
        "watch": events,
    },
    "admin": {"watch": events},
}


async def refusal(client: Client, call: Call) -> str:
    """The error message of a request that the user may not send."""
    with pytest.raises(NotAllowedError) as refused:
        async with asyncio.timeout(patiently(REFUSED_WITHIN_S)):
            await call(client)
    return str(refused.value)


@pytest.mark.parametrize("user", REFUSED)
async def test_a_refused_request_names_its_subject_and_who_may(settings: Settings, worker: Worker, user: str) -> None:
    # Given a worker, and a user who sends all requests for which it has no permission
    async with Client(login(settings, user)) as client:
        messages = {command: await refusal(client, call) for command, call in REFUSED[user].items()}
    for command, sentence in messages.items():
        # Then the error names the refused request and the users who may send it
        match = re.fullmatch(r"NATS does not allow the user '(\w+)' to .* (\S+): log in as ([\w ]+) \(.+\)\.", sentence)
        assert match is not None, (command, sentence)
        assert match[1] == user
        for other in match[3].split(" or "):
            # And that is so
            (subject,) = mapped(other, {match[2]})
            assert configured()[other].may("publish", subject), (command, other, subject)


async def test_the_same_without_a_worker(settings: Settings) -> None:
    # Given no worker
    async with Client(login(settings, "follower")) as client, asyncio.timeout(patiently(REFUSED_WITHIN_S)):
        # When a user without permission sends a request, then the error does not advise starting a worker
        with pytest.raises(NotAllowedError, match="log in as publisher"):
            await client.cancel("t1")


async def test_a_refused_request_disturbs_no_other(settings: Settings, worker: Worker) -> None:
    # Given a user who sends refused and permitted requests at the same time
    async with Client(login(settings, "operator")) as client:
        requests = client.cancel("t1"), client.queue(), client.delete("t1"), client.get_task_progress("t1")
        results = await asyncio.gather(*requests, return_exceptions=True)
    # Then each has its own result
    assert [type(result) for result in results] == [NotAllowedError, QueueOverview, NotAllowedError, RequestFailedError]


async def test_a_wrong_inbox_is_named(settings: Settings, worker: Worker) -> None:
    # Given an operator who has not set the prefix of its inboxes
    wrong = login(settings, "operator").model_copy(update={"nats_inbox_prefix": inbox("service")})
    async with Client(wrong) as client:
        for _ in range(2):
            # When it sends requests repeatedly
            with pytest.raises(InboxRefusedError, match=r"set NATS_INBOX_PREFIX .*_INBOX_operator"):
                async with asyncio.timeout(patiently(REFUSED_WITHIN_S)):
                    await client.queue()


def test_no_error_names_other_users_for_a_permitted_request() -> None:
    # Given all that clients may publish in their accounts, in the service's words
    for user in CLIENTS:
        for subject in configured()[user].publish:
            permitted_subject = subject.replace("$JS.ACK.natscribe.", "$JS.API.")
            # Then no error names other users for a request that the user may send
            if not subject.startswith(("$JS.FC.", "$JS.ACK.transcription")):
                assert user in permitted_users(permitted_subject), (user, permitted_subject)


async def test_the_command_reports_it_in_one_sentence(settings: Settings, worker: Worker, tmp_path: Path) -> None:
    # When an operator cancels a task by the command
    status, output = await natscribe(settings, "operator", "cancel", "t1", folder=tmp_path)
    # Then the command names the permitted users
    assert status == 1
    assert output == (
        "NATS does not allow the user 'operator' to send requests to tasks.cancel: log in as publisher "
        "(NATS_USER, NATS_PASSWORD and NATS_INBOX_PREFIX)."
    )


async def test_a_refused_subscription_is_reported_whenever_replies_come(guarded: GuardedNats) -> None:
    # Given a user who may not follow tasks
    connection = await connect(login(Settings(_env_file=None, nats_url=guarded.url), "monitoring"))
    # When the user subscribes many times, then each refusal is reported
    for number in range(300):
        await connection.subscribe(f"progress.t{number}")
        with pytest.raises(NotAllowedError):
            await connection.confirm_subscription(f"progress.t{number}")
    await connection.close()


@pytest.mark.parametrize("user", CLIENTS)
async def test_a_client_can_neither_send_windows_nor_receive_them(guarded: GuardedNats, user: str) -> None:
    # Given two workers, one of them idle, and a client that tries to receive windows
    received: list[bytes] = []

    async def receive(message: Msg) -> None:
        received.append(message.data)
        await message.respond(b"text")

    async with (
        connected(guarded, "service") as idle,
        connected(guarded, "service") as owner,
        connected(guarded, user) as client,
    ):
        await idle.subscribe(WINDOWS, queue="natscribe", cb=receive)
        await idle.flush()
        await client.subscribe(WINDOWS, queue="natscribe", cb=receive)
        # When the client sends one, too
        await client.publish(WINDOWS, b"of a client")
        await client.flush()
        # Then the server refuses both, and only workers exchange windows
        await eventually(lambda: len(guarded.refused()) == 2)  # the server's log is read a moment later
        async with asyncio.timeout(DEADLINE):
            for _ in range(10):  # a queue group would give the client some of them
                assert (await owner.request(WINDOWS, b"of a worker", timeout=5)).data == b"text"
    assert received == [b"of a worker"] * 10
