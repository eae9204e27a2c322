"""Waiting says what is wrong: what has not come true, or the error of the question itself."""

import asyncio

import pytest
from nats.errors import TimeoutError as RequestTimeoutError

from tests.waiting import eventually


async def test_what_does_not_come_true_is_named_at_the_deadline() -> None:
    with pytest.raises(AssertionError, match=r"still False after 0.05 s"):
        await eventually(lambda: False, within=0.05)


async def test_a_check_that_never_succeeds_ends_at_the_deadline() -> None:
    with pytest.raises(AssertionError, match=r"still None after 0.05 s"):
        await eventually(asyncio.Event().wait, within=0.05)


async def test_the_timeout_of_a_request_is_not_taken_for_the_deadline() -> None:
    # Given a request that times out by itself, not at the first try
    tries = 0

    async def request() -> bool:
        nonlocal tries
        tries += 1
        if tries > 1:
            raise RequestTimeoutError
        return False

    # When its reply is awaited, then its own error is raised, long before the deadline
    with pytest.raises(RequestTimeoutError):
        await eventually(request)
