"""The limits of a recording: length, and the time and memory of all reading together."""

import resource
import sys
from collections.abc import Iterator
from itertools import count

import pytest
from natscribe.schemas.errors import ErrorCode

from app.engines.audio import limits
from app.engines.audio.limits import Budget, Limit
from app.runtime.errors import PermanentError

MEGABYTE = 1024**2


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A clock that advances by a second each time that it is read."""
    ticks = count(100)
    monkeypatch.setattr(limits, "thread_time", lambda: float(next(ticks)))
    return ticks


@pytest.mark.usefixtures("clock")
def test_all_reading_of_a_recording_has_one_deadline() -> None:
    # Given a recording that may be read for three seconds, of which the first pass takes two
    budget = Budget(Limit(3600, "AUDIO_MAX_SECONDS", decode_seconds=3))
    with budget.reading():
        budget.check()
    # When the second part takes two more
    with budget.reading():
        budget.check()
        with pytest.raises(PermanentError) as caught:
            budget.check()
    # Then it is too much, and the error names the limit
    assert caught.value.detail.code is ErrorCode.AUDIO_TOO_LARGE
    assert "AUDIO_MAX_DECODE_SECONDS" in caught.value.detail.message


def test_work_on_what_was_read_does_not_count(clock: Iterator[int]) -> None:
    # Given a recording that may be read for three seconds
    budget = Budget(Limit(3600, "AUDIO_MAX_SECONDS", decode_seconds=3))
    with budget.reading():
        # When each piece is processed for longer
        with budget.paused():
            for _ in range(10):
                next(clock)
        # Then there is time left
        budget.check()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_reading_gets_no_more_memory_than_its_length_needs() -> None:
    # Given a recording of up to a minute
    usual = resource.getrlimit(resource.RLIMIT_DATA)
    budget = Budget(Limit(60, "AUDIO_MAX_SECONDS"))
    # When reading takes a little memory, then it gets it, and the kernel limits its CPU time
    with budget.reading():
        bytearray(16 * MEGABYTE)
        assert resource.getrlimit(resource.RLIMIT_CPU)[0] != resource.RLIM_INFINITY
        # And work on what was read may take more
        with budget.paused():
            bytearray(400 * MEGABYTE)
    # When reading takes so much, then the recording is to blame
    with pytest.raises(PermanentError) as caught, budget.reading():
        bytearray(400 * MEGABYTE)
    assert caught.value.detail.code is ErrorCode.AUDIO_UNREADABLE
    assert "memory" in caught.value.detail.message
    # And afterwards all is as before
    assert resource.getrlimit(resource.RLIMIT_DATA) == usual


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_two_readers_of_a_recording_get_memory_each() -> None:
    # Given a recording of up to a minute of which two channels are read in turn
    budget = Budget(Limit(60, "AUDIO_MAX_SECONDS"), readers=2)
    # When each reader takes what one may take, then both get it
    with budget.reading():
        first = bytearray(48 * MEGABYTE)
        with budget.paused(), budget.reading():
            second = bytearray(48 * MEGABYTE)
    assert len(first) == len(second)
    # But no reader gets much more
    with pytest.raises(PermanentError, match="memory"), budget.reading():
        bytearray(400 * MEGABYTE)


@pytest.mark.parametrize("seconds", [float("inf"), 1e30])
def test_a_length_without_limit_is_memory_without_limit(seconds: float) -> None:
    # Given an operator who allows any length, when much memory is allocated, then this succeeds
    with Budget(Limit(seconds, "AUDIO_MAX_SECONDS")).reading():
        bytearray(400 * MEGABYTE)
