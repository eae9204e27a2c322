"""Transcription with a model that answers from a script: what is asked of it, and what is made of its answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from app.engines import transcription
from app.engines.decoding import Limit
from app.engines.messages import StageAdvanced, Transcribe, Transcribed, TranscriptionDone
from app.engines.transcription import transcribe
from app.engines.windows import Heard, Window
from handlers.errors import PermanentError
from schemas.errors import ErrorCode
from schemas.wire import Model

LIMIT = Limit(3600, "AUDIO_MAX_SECONDS")
MODEL = Model(name="scripted", revision="1")


@dataclass
class Said:
    text: str
    start: float = 0.0
    words: None = None
    avg_logprob: float = -0.2
    no_speech_prob: float = 0.1
    compression_ratio: float = 1.5


@dataclass
class ScriptedWhisper:
    """Hears `script`, one entry a window; remembers how it was asked."""

    script: list[Said | None]
    identity: Model = MODEL
    asked: list[tuple[int, str | None, bool]] = field(default_factory=list)

    def knows(self, language: str) -> bool:
        return language in {"en", "de"}

    def hear(
        self, windows: Sequence[npt.NDArray[np.float32]], language: str | None, *, break_loops: bool = False
    ) -> tuple[list[Said | None], str]:
        self.asked.append((len(windows), language, break_loops))
        heard, self.script = self.script[: len(windows)], self.script[len(windows) :]
        return heard, language or "en"


Reply = StageAdvanced | Transcribed | TranscriptionDone


@pytest.fixture(autouse=True)
def recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 s of which the later 60 hold a window every 10 s."""

    def listen(_pieces: object, start_at: float) -> list[Heard]:
        windows = [Window(at, at + 10.0, np.zeros(160_000, np.float32)) for at in range(40, 100, 10)]
        left = [window for window in windows if window.end > start_at]
        return [
            Heard([], 32.0, 32.0),
            Heard(left[:-1], 96.0, 90.0),
            Heard(left[-1:], 100.0, 100.0, last=True),
        ]

    monkeypatch.setattr(transcription, "measure", lambda _path: 100.0)
    monkeypatch.setattr(transcription, "decode", lambda _path, _limit: ())
    monkeypatch.setattr(transcription, "listen", listen)


def run(whisper: ScriptedWhisper, **options: object) -> list[Reply]:
    job = Transcribe.model_validate({"path": Path("meeting.flac")} | options)
    return list(transcribe(whisper, job, LIMIT))  # type: ignore[arg-type]  # a fake with the parts that are used


def texts(replies: list[Reply]) -> list[list[str]]:
    return [[each.text for each in reply.segments] for reply in replies if isinstance(reply, Transcribed)]


def test_the_first_batch_is_one_window_and_later_ones_are_larger() -> None:
    # Given a quick model
    whisper = ScriptedWhisper([Said(f"window {at}") for at in range(6)])

    # When a recording with six windows is transcribed
    replies = run(whisper)

    # Then one window goes first, then four, then what is left, in the language detected once
    assert whisper.asked == [(1, None, False), (4, "en", False), (1, "en", False)]
    assert texts(replies) == [["window 0"], ["window 1", "window 2", "window 3", "window 4"], ["window 5"]]
    assert [reply.processed_seconds for reply in replies if isinstance(reply, Transcribed)] == [50, 90, 100]
    assert replies[-1] == TranscriptionDone(language="en", duration_seconds=100.0, model=MODEL)


def test_the_stage_is_told_before_the_model_is_at_work() -> None:
    # Given a recording with speech at its beginning
    # When it is transcribed
    replies = run(ScriptedWhisper([Said("text")] * 6), start_at=50)

    # Then nobody is told of decoding while the first window is heard
    told = [reply.stage if isinstance(reply, StageAdvanced) else "text" for reply in replies[:3]]
    assert told == ["decoding", "transcribing", "text"]


def test_progress_is_told_where_nobody_speaks() -> None:
    # Given a recording that begins with silence, when it is transcribed
    replies = run(ScriptedWhisper([Said("text")] * 6))

    # Then the silence counts as processed
    assert [(reply.stage, reply.processed_seconds) for reply in replies if isinstance(reply, StageAdvanced)] == [
        ("decoding", 0),
        ("transcribing", 32),
    ]


def test_a_resumed_run_begins_after_what_is_done() -> None:
    # Given a run that did three windows, when another one goes on in the language found
    replies = run(ScriptedWhisper([Said("rest")] * 3), start_at=70.0, language="de")

    # Then only the rest is transcribed, and no progress falls behind
    assert texts(replies) == [["rest"], ["rest", "rest"]]
    assert all(reply.processed_seconds >= 70 for reply in replies if not isinstance(reply, TranscriptionDone))
    assert replies[-1].language == "de" if isinstance(replies[-1], TranscriptionDone) else False


@pytest.mark.parametrize(
    "heard", [None, Said("you", avg_logprob=-1.4, no_speech_prob=0.9), Said(" ..."), Said(" ♪♪")], ids=str
)
def test_what_is_not_speech_gives_no_text_and_no_language(heard: Said | None) -> None:
    # Given a model that hears nothing, or something where nothing is
    whisper = ScriptedWhisper([heard] * 6)

    # When the recording is transcribed
    replies = run(whisper)

    # Then there is no text, and the language stays open to the end
    assert not any(texts(replies))
    assert [language for _, language, _ in whisper.asked] == [None] * 6
    assert replies[-1] == TranscriptionDone(language=None, duration_seconds=100.0, model=MODEL)


def test_a_window_in_which_the_model_repeats_itself_is_heard_again() -> None:
    # Given a model that is caught in a loop in the second of two windows
    loop = Said("and so on and so on and so on and so on", compression_ratio=4.0)
    whisper = ScriptedWhisper([Said("first"), loop, Said("better")])

    # When they are transcribed
    replies = run(whisper, start_at=80.0, language="en")

    # Then that window is asked for once more, alone, with loops forbidden
    assert whisper.asked == [(1, "en", False), (1, "en", False), (1, "en", True)]
    assert texts(replies) == [["first"], ["better"]]


def test_an_unknown_language_is_refused() -> None:
    # Given a model that does not know a language, when a task names it
    with pytest.raises(PermanentError) as caught:
        run(ScriptedWhisper([]), language="xx")

    # Then the message is at fault
    assert caught.value.detail.code is ErrorCode.INVALID_MESSAGE


def test_a_recording_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a recording longer than the limit
    monkeypatch.setattr(transcription, "measure", lambda _path: 3601.0)

    # When it is to be transcribed, then the setting is named
    with pytest.raises(PermanentError, match="AUDIO_MAX_SECONDS") as caught:
        run(ScriptedWhisper([]))
    assert caught.value.detail.code is ErrorCode.AUDIO_TOO_LARGE
