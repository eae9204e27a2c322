"""The quota of each user, as the entries of the bucket say."""

import pytest
from structlog.testing import capture_logs

from app.tasks.queue.fair_queue import Quota
from app.tasks.queue.quotas import Quotas
from tests.fakes.nats import InMemoryNats

DEFAULT = Quota(max_running=5, max_waiting=7)
ANNA, NUMBER_42 = "ImFubmEi", "NDI"  # keys of users


@pytest.fixture
def quotas(nats: InMemoryNats) -> Quotas:
    return Quotas(nats.client, DEFAULT)


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
    # And a user whose entry is deleted has the default quota again
    await put(nats, ANNA, b"", KV_Operation="DEL")
    await quotas.read()
    assert (quotas.of("anna"), changed[2:], quotas.problems) == (DEFAULT, ["anna"], [])


async def test_an_invalid_entry_is_reported_and_the_last_valid_one_still_applies(
    nats: InMemoryNats, quotas: Quotas
) -> None:
    # Given a user with a quota
    await put(nats, ANNA, b'{"max_running": 3}')
    await quotas.read()
    # When the entry and that of another user become invalid, and there are keys of no user
    for key, value in ((ANNA, b'{"max_running": "many"}'), (NUMBER_42, b"5"), ("x", b"{}"), ("W10", b"{}")):
        await put(nats, key, value)
    # Then each is a problem, which is logged once
    for logged in (["anna", 42, "x", "W10"], []):
        with capture_logs() as lines:
            await quotas.read()
        assert [line["user"] or line["key"] for line in lines] == logged
    reasons = [problem.what.removeprefix("The quota ") for problem in quotas.problems]
    assert reasons[0].startswith("of the user anna is not valid: max_running")
    assert reasons[1].startswith("of the user 42 is not valid: it is no JSON object")
    assert reasons[2:] == [f"{key} is not valid: its key is no user id in Base64" for key in ("x", "W10")]
    # And the last valid quota still applies, or else the default
    assert (quotas.of("anna").max_running, quotas.of(42)) == (3, DEFAULT)
