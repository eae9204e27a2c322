"""The bundled model on real announcements: languages, coverage, names, translation, and what must not matter."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from natscribe.schemas.transcription import Segment, TranscribeOptions

from app.engines.messages import Transcribe, WindowSound
from app.engines.mixing import SAMPLE_RATE
from app.engines.models import Models
from app.engines.parallel import Parallel
from app.engines.samples import Samples, pack
from app.engines.transcription import transcribe
from app.engines.whisper import Whisper, load
from app.engines.whisper_network import Computing, Network
from app.engines.windows import listen
from benchmarks.recordings import read
from benchmarks.words import scored
from tests.document import ROOT

from .sounds import silence

pytestmark = pytest.mark.xdist_group("transcription")  # one model

FOLDER = ROOT / "tests" / "recordings" / "speech"
KINDS = ("prompts-en", "prompts-ru", "prompts-es", "prompts-fr", "prompts-it", "dictation-en", "dictation-ru")


def recording(name: str) -> Samples:
    return read(FOLDER / f"{name}.flac").astype(np.float32) / np.float32(32768)


def said(name: str) -> str:
    return re.sub(r"(?m)^\w\w: ", "", (FOLDER / f"{name}.txt").read_text(encoding="utf-8"))


def batches(samples: Samples, size: int) -> list[list[WindowSound]]:
    found = [window for block in listen([samples]) for window in block.windows]
    windows = [WindowSound(pieces=list(window.pieces), samples=pack(window.samples)) for window in found]
    return [windows[first : first + size] for first in range(0, len(windows), size)]


def transcribed(model: Whisper, samples: Samples, *, size: int = 4, **options: object) -> list[Segment]:
    segments: list[Segment] = []
    previous = None
    for windows in batches(samples, size):
        job = Transcribe(windows=windows, options=TranscribeOptions.model_validate(options), previous=previous)
        found = transcribe(model, job)
        previous = found.language or previous
        segments += [segment for window in found.found for segment in window.segments]
        assert [stretch for window in found.found for stretch in window.untranscribed] == []
    return segments


def text_of(segments: Sequence[Segment]) -> str:
    return " ".join(segment.text for segment in segments)


@pytest.mark.parametrize("name", KINDS)
def test_no_run_of_words_is_missing_and_each_sentence_has_its_language(whisper: Whisper, name: str) -> None:
    segments = transcribed(whisper, recording(name))
    score = scored([said(name)], [text_of(segments)])
    assert score.longest_missing <= 8
    assert score.rate <= 0.3  # of 40 s in a language that whisper-base knows badly; the bench counts all kinds
    assert {segment.language for segment in segments} == {name[-2:]}


def test_three_languages_in_one_recording_are_each_written_as_spoken(whisper: Whisper) -> None:
    segments = transcribed(whisper, recording("languages"))
    score = scored([said("languages")], [text_of(segments)])
    assert {segment.language for segment in segments} == {"en", "ru", "es"}
    assert score.longest_missing <= 8
    assert score.rate <= 0.2


def test_the_text_depends_neither_on_batches_nor_on_how_many_windows_are_done_at_once(whisper: Whisper) -> None:
    # Given a model that transcribes two windows at the same time
    two = load(Models(None, None).find(None), Computing(at_once=2))
    assert two.parallel.count == 2
    samples = recording("languages")
    # Then it finds what one finds that transcribes them one by one
    assert transcribed(two, samples, size=8) == transcribed(whisper, samples, size=1)


def test_windows_that_are_filled_as_on_a_gpu_have_the_same_text_alone_and_in_batches(whisper: Whisper) -> None:
    # Given a network that fills windows up to 30 s and does a batch at once, here on a CPU
    folder = Models(None, None).find(None).folder
    filled = Whisper(whisper.identity, "", Network(str(folder), Computing(), filled=True), Parallel())
    samples = recording("prompts-en")[: 30 * SAMPLE_RATE]
    together, alone = (transcribed(filled, samples, size=size) for size in (4, 1))
    assert text_of(together) == text_of(alone)
    assert scored([text_of(transcribed(whisper, samples))], [text_of(together)]).rate < 0.1


def test_speech_is_translated_where_that_is_asked(whisper: Whisper) -> None:
    text = text_of(transcribed(whisper, recording("prompts-es"), translate=True))
    assert {"conference", "participants", "again"} <= set(text.lower().replace(".", "").split())


def test_a_vocabulary_brings_its_names_and_no_others(whisper: Whisper) -> None:
    # Given terms of which two are said, and misheard without them
    samples = recording("prompts-it")
    terms = ("acustico", "provvisorio", "Brandeburgo", "Giovanni Malatesta", "JetStream")
    plain = text_of(transcribed(whisper, samples))
    assert not any(term in plain for term in terms)
    # Then those two are written, and not one word is worse for it
    text = text_of(transcribed(whisper, samples, vocabulary=terms))
    assert [term for term in terms if term in text] == ["acustico", "provvisorio"]
    said_so = said("prompts-it")
    assert scored([said_so], [text]).errors < scored([said_so], [plain]).errors


def test_the_longest_prompt_and_vocabulary_leave_room_for_the_text(whisper: Whisper) -> None:
    # Given as much of both as a task may have, in letters that take many tokens
    letters = "通话记录。"
    samples = recording("prompts-ru")[: 20 * SAMPLE_RATE]
    prompt = (letters * 800)[:800]
    terms = tuple(f"{number} {letters * 60}"[:60].strip() for number in range(100))
    # Then most of what is said is still written
    plain, guided = (
        text_of(transcribed(whisper, samples)),
        text_of(transcribed(whisper, samples, prompt=prompt, vocabulary=terms)),
    )
    assert len(guided) > 0.5 * len(plain)


@pytest.mark.parametrize("sound", [silence, lambda seconds: np.sin(np.arange(seconds * SAMPLE_RATE) / 6) / 3])
def test_nothing_is_found_where_nobody_speaks(whisper: Whisper, sound: Callable[[float], Samples]) -> None:
    assert transcribed(whisper, sound(40).astype(np.float32)) == []
