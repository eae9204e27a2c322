"""Transcription with a model that answers from a script: what is asked of it, and what is made of its answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from app.engines.messages import Transcribe, WindowSound, WindowsTranscribed
from app.engines.samples import pack, unpack
from app.engines.transcription import transcribe
from handlers.errors import PermanentError
from schemas.errors import ErrorCode
from schemas.wire import Model

MODEL = Model(name="scripted", revision="1")
SOUND = pack(np.zeros(160_000, np.float32))


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

    def transcribe(
        self, windows: Sequence[npt.NDArray[np.float32]], language: str | None, *, break_loops: bool = False
    ) -> tuple[list[Said | None], str]:
        self.asked.append((len(windows), language, break_loops))
        heard, self.script = self.script[: len(windows)], self.script[len(windows) :]
        return heard, language or "en"


def ask(whisper: ScriptedWhisper, windows: int = 1, **options: object) -> WindowsTranscribed:
    sounds = [WindowSound(start=at * 10.0, end=at * 10.0 + 10, samples=SOUND) for at in range(windows)]
    return transcribe(whisper, Transcribe.model_validate({"windows": sounds} | options))  # type: ignore[arg-type]  # a fake


def texts(heard: WindowsTranscribed) -> list[list[str]]:
    return [[each.text for each in found] for found in heard.found]


def test_a_batch_is_asked_for_at_once_and_answered_window_by_window() -> None:
    # Given a batch of three windows, when it is heard
    whisper = ScriptedWhisper([Said("first"), None, Said("third")])
    heard = ask(whisper, 3)

    # Then the model was asked once, and each window has its own text and times
    assert whisper.asked == [(3, None, False)]
    assert texts(heard) == [["first"], [], ["third"]]
    assert heard.found[2][0].start == 20
    assert (heard.language, heard.model) == ("en", MODEL)
    assert heard.seconds > 0


@pytest.mark.parametrize(
    "heard", [None, Said("you", avg_logprob=-1.4, no_speech_prob=0.9), Said(" ..."), Said(" ♪♪")], ids=str
)
def test_what_is_not_speech_gives_no_text(heard: Said | None) -> None:
    # Given a model that hears nothing, or something where nothing is, then there is no text
    assert texts(ask(ScriptedWhisper([heard]))) == [[]]


def test_a_window_in_which_the_model_repeats_itself_is_heard_again() -> None:
    # Given a model that is caught in a loop in the second of two windows
    loop = Said("and so on and so on and so on and so on", compression_ratio=4.0)
    whisper = ScriptedWhisper([Said("first"), loop, Said("better")])

    # When they are heard
    heard = ask(whisper, 2, language="en")

    # Then that window is asked for once more, alone, with loops forbidden
    assert whisper.asked == [(2, "en", False), (1, "en", True)]
    assert texts(heard) == [["first"], ["better"]]


def test_an_unknown_language_is_refused() -> None:
    # Given a model that does not know a language, when a task names it
    with pytest.raises(PermanentError) as caught:
        ask(ScriptedWhisper([]), language="xx")

    # Then the message is at fault
    assert caught.value.detail.code is ErrorCode.INVALID_MESSAGE


def test_the_sound_of_a_window_arrives_as_it_was() -> None:
    # Given samples of every loudness, of which some are too loud
    samples = np.linspace(-1.5, 1.5, 100, dtype=np.float32)
    # When they are packed for the way and unpacked
    arrived = unpack(pack(samples))
    # Then they are the same to the nearest step, and the rest is clipped
    assert np.abs(arrived - np.clip(samples, -1, 32767 / 32768)).max() <= 0.5 / 32768
    # And packing them again changes nothing
    assert pack(arrived) == pack(samples)
