"""The quota of each user, as the entries of the bucket say."""

import json
from base64 import urlsafe_b64encode

import pytest
from nats.errors import Error as NatsError
from structlog.testing import capture_logs

from app.queue.fair_queue import Quota
from app.queue.quotas import Quotas
from tests.fakes.nats import InMemoryNats

DEFAULT = Quota(max_running=5, max_waiting=7)
ANNA, NUMBER_42 = "ImFubmEi", "NDI"  # keys of users


@pytest.fixture
def quotas(nats: InMemoryNats) -> Quotas:
    return Quotas(nats.client, DEFAULT)


def key(user_id: object) -> str:
    return urlsafe_b64encode(json.dumps(user_id, ensure_ascii=False).encode()).decode().rstrip("=")


async def put(nats: InMemoryNats, key: str, value: bytes, **headers: str) -> None:
    written = {name.replace("_", "-"): text for name, text in headers.items()}
    await nats.jetstream().publish(f"$KV.quotas.{key}", value, headers=written)


async def test_an_entry_replaces_the_limits_that_it_names(nats: InMemoryNats, quotas: Quotas) -> None:
    # Given the entries of two users, each of which leaves out something
    changed: list[int | str] = []
    quotas.changed = changed.append
    await put(nats, NUMBER_42, b'{"weight": 2, "max_running": 0}')
    await put(nats, ANNA, b'{"max_waiting": 3}')
    # When the bucket is read, then the weight is 1 and the limits are the default ones where an entry has none
    await quotas.read()
    assert (quotas.of(42), quotas.of("anna")) == (Quota(2.0, 0, 7), Quota(1.0, 5, 3))
    assert {quotas.of("42"), quotas.of(None)} == {DEFAULT}
    assert sorted(map(str, changed)) == ["42", "anna"]
    # And a user whose entry is deleted has the default quota again, and an entry with the same meaning is no change
    await put(nats, ANNA, b"", KV_Operation="DEL")
    await put(nats, NUMBER_42, b'{"weight": 2.0, "max_running": 0}')
    await quotas.read()
    assert (quotas.of("anna"), changed[2:], quotas.problems) == (DEFAULT, ["anna"], [])


@pytest.mark.parametrize(
    "user_id", [42, pytest.param("42", id="text"), -(2**63), "анна", "a" * 64, 'a "quoted" name', "*.>"]
)
async def test_each_user_id_has_a_key_of_its_own(nats: InMemoryNats, quotas: Quotas, user_id: int | str) -> None:
    await put(nats, key(user_id), b'{"max_waiting": 3}')
    await quotas.read()
    assert quotas.of(user_id).max_waiting == 3
    others: list[int | str | None] = [42, "42", "anna", None]
    assert {quotas.of(other) for other in others if other != user_id} == {DEFAULT}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"weight": 0}', "weight"),
        (b'{"weight": -1}', "weight"),
        (b'{"weight": NaN}', "weight"),
        (b'{"weight": 1e9}', "weight"),
        (b'{"max_running": "many"}', "max_running"),
        (b'{"max_waiting": -1}', "max_waiting"),
        (b'{"max_runing": 1}', "max_runing"),
        (b"5", "it is no JSON object"),
        (b"\xff", "Invalid JSON"),
    ],
)
async def test_an_invalid_entry_changes_nothing(nats: InMemoryNats, quotas: Quotas, value: bytes, reason: str) -> None:
    # Given a user with a quota
    await put(nats, ANNA, b'{"max_running": 3}')
    await quotas.read()
    # When the entry of this user and that of another one are invalid, then each is a problem, which is logged once
    for user_key in (ANNA, NUMBER_42):
        await put(nats, user_key, value)
    for logged in ([ANNA, NUMBER_42], []):
        with capture_logs() as lines:
            await quotas.read()
        assert [line["key"] for line in lines if line["event"] == "quota_invalid"] == logged
    assert [reason in problem.what for problem in quotas.problems] == [True, True]
    # And the last valid quota still applies, or else the default
    assert (quotas.of("anna").max_running, quotas.of(42)) == (3, DEFAULT)
    # And when the entries are corrected, nothing is reported
    for user_key in (ANNA, NUMBER_42):
        await put(nats, user_key, b'{"max_running": 4}')
    await quotas.read()
    assert (quotas.problems, quotas.of("anna").max_running, quotas.of(42).max_running) == ([], 4, 4)


@pytest.mark.parametrize("wrong", ["anna", "x", "W10", key(True), key(1.5), key(None), key("a" * 65), key([1])])
async def test_a_key_that_is_no_user_is_reported(nats: InMemoryNats, quotas: Quotas, wrong: str) -> None:
    await put(nats, wrong, b"{}")
    await quotas.read()
    (problem,) = quotas.problems
    assert problem.what == f"The quota {wrong} is not valid: its key is no user id in Base64"


async def test_without_its_bucket_the_last_quotas_apply(nats: InMemoryNats, quotas: Quotas) -> None:
    await put(nats, NUMBER_42, b'{"max_running": 3}')
    await quotas.read()
    del nats.streams["KV_quotas"]
    with pytest.raises(NatsError):
        await quotas.read()
    assert quotas.of(42).max_running == 3
