"""Listening: what is emitted about a recording, and when."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from natscribe.schemas.errors import ErrorCode

from app.engines.audio import window_search
from app.engines.audio.limits import Budget, Limit
from app.engines.audio.samples import unpack, unpack_speech
from app.engines.audio.window_search import find_windows
from app.engines.audio.windows import DetectedWindows, UnpackedWindow
from app.engines.messages import (
    FindWindows,
    RecordingOpened,
    Reply,
    WindowFound,
    WindowSearchAdvanced,
    WindowSearchDone,
)
from app.runtime.errors import PermanentError

LIMIT = Limit(3600, "AUDIO_MAX_SECONDS")


@pytest.fixture(autouse=True)
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Of which channel 100 s are decoded: silence, two windows, and what is left."""
    channels: list[int | None] = []

    def decode(_path: Path, _budget: Budget, channel: int | None) -> tuple[()]:
        channels.append(channel)
        return ()

    def detect_windows(_pieces: object, start_at: float, _detector: object) -> list[DetectedWindows]:
        probabilities = np.linspace(0, 1, 32, dtype=np.float32)
        windows = [
            UnpackedWindow([(at, at + 1.0)], np.full(16_000, at / 100, np.float32), probabilities)
            for at in (40.0, 50.0)
        ]
        left = [window for window in windows if window.regions[-1][1] > start_at]
        return [
            DetectedWindows([], 32.0, 32.0),
            DetectedWindows(left, 96.0, 90.0),
            DetectedWindows([], 100.0, 100.0),
        ]

    monkeypatch.setattr(window_search, "probe", lambda _path, _budget: (99.0, 2))
    monkeypatch.setattr(window_search, "get_vad_model", lambda: None)
    monkeypatch.setattr(window_search, "decode", decode)
    monkeypatch.setattr(window_search, "detect_windows", detect_windows)
    return channels


def channels_of(replies: Sequence[Reply]) -> list[int | None]:
    return [reply.window.channel for reply in replies if isinstance(reply, WindowFound)]


def test_windows_are_emitted_as_they_are_detected() -> None:
    # Given a recording, when it is processed
    replies = list(find_windows(FindWindows(path=Path("meeting.flac")), LIMIT))
    # Then its length and channels come first, then its windows with their audio, and how far all is complete
    assert [type(reply) for reply in replies] == [
        RecordingOpened,
        WindowSearchAdvanced,
        WindowFound,
        WindowFound,
        WindowSearchAdvanced,
        WindowSearchAdvanced,
        WindowSearchDone,
    ]
    assert replies[0] == RecordingOpened(duration_seconds=99, channels=2, channel=None)
    windows = [reply.window for reply in replies if isinstance(reply, WindowFound)]
    assert [window.regions for window in windows] == [[(40, 41)], [(50, 51)]]
    assert unpack(windows[1].samples) == pytest.approx(0.5, abs=1e-4)
    assert unpack_speech(windows[1].speech) == pytest.approx(np.linspace(0, 1, 32), abs=2e-3)
    assert [reply.complete_until for reply in replies if isinstance(reply, WindowSearchAdvanced)] == [32, 90, 100]
    # And its end says how long it really is
    assert replies[-1] == WindowSearchDone(duration_seconds=100)


def test_a_resumed_run_begins_after_what_is_done() -> None:
    # Given a run that did the first window, when another one continues
    replies = list(find_windows(FindWindows(path=Path("meeting.flac"), start_at=41.0), LIMIT))
    # Then only the rest is found
    assert [reply.window.regions for reply in replies if isinstance(reply, WindowFound)] == [[(50, 51)]]


@pytest.mark.parametrize("channel", [None, 0, 1])
def test_one_channel_is_processed_where_that_is_requested(decoded: list[int | None], channel: int | None) -> None:
    # Given a recording with two channels, when one is processed, or both as one
    replies = list(find_windows(FindWindows(path=Path("meeting.flac"), channel=channel), LIMIT))
    # Then nothing else is decoded, and each window says where it lies
    assert decoded == [channel]
    assert channels_of(replies) == [channel] * 2


@pytest.mark.parametrize(("differ", "channel"), [(True, 0), (False, None)])
def test_the_window_detector_chooses_by_the_audio(
    monkeypatch: pytest.MonkeyPatch, decoded: list[int | None], differ: bool, channel: int | None
) -> None:
    # Given a recording with as many channels as can be compared, which differ or do not
    monkeypatch.setattr(window_search, "probe", lambda _path, _budget: (99.0, 8))
    monkeypatch.setattr(window_search, "channels_differ", lambda *_: differ)
    # When the choice is left to the window detector
    opened, *others = find_windows(FindWindows(path=Path("meeting.flac"), choose=True), LIMIT)
    # Then it takes the first channel or all of them, and says which, also with each window
    assert opened == RecordingOpened(duration_seconds=99, channels=8, channel=channel)
    assert channels_of(others) == [channel] * 2
    assert decoded == [channel]


@pytest.mark.parametrize("channels", [1, 9])
def test_where_there_is_no_choice_nothing_is_compared(
    monkeypatch: pytest.MonkeyPatch, decoded: list[int | None], channels: int
) -> None:
    # Given a recording with one channel, or with more than can be transcribed each on its own
    monkeypatch.setattr(window_search, "probe", lambda _path, _budget: (99.0, channels))
    monkeypatch.delattr(window_search, "channels_differ")
    # When the choice is left to the window detector, then all channels are mixed, and none was compared
    list(find_windows(FindWindows(path=Path("meeting.flac"), choose=True), LIMIT))
    assert decoded == [None]


def test_the_only_channel_is_no_channel_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a recording with one channel, when the first one is requested, then the window detector says that it is all
    monkeypatch.setattr(window_search, "probe", lambda _path, _budget: (99.0, 1))
    opened, *others = find_windows(FindWindows(path=Path("meeting.flac"), channel=0), LIMIT)
    assert opened == RecordingOpened(duration_seconds=99, channels=1)
    assert channels_of(others) == [None] * 2


def test_a_recording_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a recording longer than the limit
    monkeypatch.setattr(window_search, "probe", lambda _path, _budget: (3601.0, 2))

    # When it is processed, then the setting is named
    with pytest.raises(PermanentError, match="AUDIO_MAX_SECONDS") as caught:
        list(find_windows(FindWindows(path=Path("meeting.flac")), LIMIT))
    assert caught.value.detail.code is ErrorCode.AUDIO_TOO_LARGE
