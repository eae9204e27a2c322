"""Operators list, set and delete the quotas of users, by the command and by the client."""

from functools import partial
from pathlib import Path

import pytest
from natscribe.client import Client, NotAllowedError, NoWorkerError, OptionError
from natscribe.schemas.quotas import StoredQuota, UserQuota

from app.main import Worker
from app.settings import Settings
from tests.access.servers import GuardedNats, connected, login, natscribe
from tests.waiting import eventually


async def test_an_operator_sets_lists_and_deletes_quotas(settings: Settings, worker: Worker, tmp_path: Path) -> None:
    quotas = partial(natscribe, settings, "operator", "quotas", folder=tmp_path)
    # Given no quota of a user
    assert await quotas("list") == (0, "No user has a quota of its own: the settings of the service apply to all.")
    # When an operator sets some
    assert await quotas("set", "anna", "--weight", "2", "--max-waiting", "1000") == (0, "set: anna")
    assert await quotas("set", "42", "--max-running", "0") == (0, "set: 42")
    # Then the service uses them, and they are listed
    await eventually(lambda: worker.container.quotas.of("anna").max_waiting == 1000)
    assert worker.container.quotas.of("anna").weight == 2
    status, listed = await quotas("list")
    assert [line.split() for line in sorted(listed.splitlines())] == [
        ["42", "1", "no", "limit"],
        ["anna", "2", "1000"],
        ["user", "weight", "max", "running", "max", "waiting"],
    ]
    status, listed = await quotas("list", "--json")
    assert {UserQuota.model_validate_json(line).user_id for line in listed.splitlines()} == {"anna", 42}
    # And a second one replaces the first
    assert await quotas("set", "anna", "--max-running", "1") == (0, "set: anna")
    await eventually(lambda: worker.container.quotas.of("anna").max_running == 1)
    assert worker.container.quotas.of("anna").weight == 1
    # And a deleted one holds no longer
    assert await quotas("delete", "anna") == (0, "deleted: anna")
    await eventually(lambda: worker.container.quotas.of("anna").max_running == 0)
    status, output = await quotas("delete", "anna")
    assert (status, output.split(":")[0]) == (1, "The user anna has no quota")


async def test_invalid_quotas_are_not_written(settings: Settings, worker: Worker, tmp_path: Path) -> None:
    # Given quotas that are not valid
    quotas = partial(natscribe, settings, "operator", "quotas", folder=tmp_path)
    for options in ((), ("--weight", "0"), ("--weight", "nan"), ("--max-running", "-1"), ("--max-waiting", "many")):
        # When an operator sets them, then the command says why it does not
        status, output = await quotas("set", "anna", *options)
        assert status == 2, output
    async with Client(login(settings, "operator")) as client:
        for user_id in ("", "a\tb", "a" * 65, 2**63):
            with pytest.raises(OptionError, match="user_id"):
                await client.set_quota(user_id, weight=2)
        assert [entry async for entry in client.quotas()] == []


async def test_an_entry_that_is_not_valid_is_listed_with_the_reason(
    settings: Settings, worker: Worker, guarded: GuardedNats, tmp_path: Path
) -> None:
    # Given entries that somebody has written past the command
    async with connected(guarded, "operator") as operator:
        bucket = await operator.jetstream().key_value("quotas")
        await bucket.put("ImFubmEi", b'{"weight": 0}')
        await bucket.put("x", b"{}")
    # Then they are listed with the reason
    _, listed = await natscribe(settings, "operator", "quotas", "list", folder=tmp_path)
    anna, unknown = (" ".join(line.split()) for line in sorted(listed.splitlines()) if "not valid" in line)
    assert anna.startswith("anna not valid: weight")
    assert unknown == "x not valid: its key is no user id in Base64"
    # And the doctor names the user, and what to do
    await eventually(lambda: len(worker.container.quotas.problems) == 2)
    _, report = await natscribe(settings, "follower", "doctor", folder=tmp_path)
    assert "The quota of the user anna is not valid: weight" in report
    assert "natscribe quotas set USER" in report
    # And when the operator corrects it, it is valid
    async with Client(login(settings, "operator")) as client:
        await client.set_quota("anna", weight=2)
        entries = {entry.user_id: entry.quota async for entry in client.quotas()}
    assert entries["anna"] == StoredQuota(weight=2)


async def test_only_operators_may(settings: Settings, worker: Worker) -> None:
    for user in ("publisher", "follower"):
        async with Client(login(settings, user)) as client:
            with pytest.raises(NotAllowedError, match="log in as operator"):
                await client.set_quota("anna", weight=2)
            with pytest.raises(NotAllowedError, match="log in as operator"):
                await anext(client.quotas())


async def test_without_the_service_there_are_no_quotas(settings: Settings) -> None:
    async with Client(login(settings, "operator")) as client:
        with pytest.raises(NoWorkerError, match="NATS has no bucket of quotas"):
            await client.set_quota("anna", weight=2)
