"""The bundled model on real announcements: languages, coverage, names, translation, and what must not matter.

Each kind of processor computes a little differently, and that may change one word. So a promise about words is a rate
over many of them. `make test-kernel` runs these tests with the arithmetic of other processors.
"""

import json
import re
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
from natscribe.schemas.transcription import Segment, TranscribeOptions

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples, pack
from app.engines.audio.speech_detector import speech_in_chunk
from app.engines.audio.windows import detect_windows
from app.engines.family import ComputeOptions
from app.engines.messages import Transcribe
from app.engines.parallel import Parallel
from app.engines.recognition import transcribe
from app.engines.whisper import bundled
from app.engines.whisper.model import Whisper, load
from app.engines.whisper.network import Network
from app.engines.windows import Window, WindowText
from tests.audio import silence
from tests.document import ROOT
from tests.truth.recordings import read
from tests.truth.words import Score, plain, scored

pytestmark = [pytest.mark.xdist_group("transcription"), pytest.mark.timeout(600)]  # one model; slow on some processors

FOLDER = ROOT / "tests" / "recordings" / "speech"
KINDS = ("prompts-en", "prompts-ru", "prompts-es", "prompts-fr", "prompts-it", "dictation-en", "dictation-ru")
MISHEARD = ("prompts-it", "prompts-es", "prompts-ru", "dictation-ru", "languages")  # each processor mishears some words
LONG = 40 * SAMPLE_RATE  # samples: several windows
UNSAID = ("Brandeburgo", "Giovanni Malatesta", "JetStream", "Шереметьево", "Guadalajara")
# What prompts-es says, but for its number.
IN_ENGLISH = """The conference will begin when our glorious leader arrives. Press to hear the properties of this
message. Other participants in the conference. The conference has been unlocked. Of a person not identified. They have
been carried away by monkeys. I am sorry, that is an invalid extension. Please try again."""

Transcription = Callable[[str], list[Segment]]


def recording(name: str) -> Samples:
    return read(FOLDER / f"{name}.flac").astype(np.float32) / np.float32(32768)


def reference_text(name: str) -> str:
    return re.sub(r"(?m)^\w\w: ", "", (FOLDER / f"{name}.txt").read_text(encoding="utf-8"))


def batches(samples: Samples, size: int) -> list[list[Window]]:
    detected = [window for block in detect_windows([samples], 0.0, speech_in_chunk) for window in block.windows]
    windows = [Window(regions=list(window.regions), samples=pack(window.samples)) for window in detected]
    return [windows[first : first + size] for first in range(0, len(windows), size)]


def transcribed(model: Whisper, samples: Samples, *, size: int = 4, **options: object) -> list[Segment]:
    """Transcribe in batches; a window that was taken to follow another language is transcribed again, as in a run."""
    task_options = TranscribeOptions.model_validate(options)

    def texts_of(windows: list[Window], language: str | None) -> list[WindowText]:
        job = Transcribe(windows=windows, options=task_options, previous=[language] * len(windows))
        return transcribe(model, job).texts

    segments: list[Segment] = []
    language = None
    for windows in batches(samples, size):
        assumed = language
        for window, first in zip(windows, texts_of(windows, assumed), strict=True):
            final = first if first.settled or assumed == language else texts_of([window], language)[0]
            language = final.language or language
            segments += final.segments
            assert final.untranscribed == []
    return segments


def text_of(segments: Sequence[Segment]) -> str:
    return " ".join(segment.text for segment in segments)


@pytest.fixture(scope="module")
def transcription(whisper: Whisper) -> Transcription:
    """What the model finds in a recording without options; each recording is transcribed once."""
    return cache(lambda name: transcribed(whisper, recording(name)))


def score_of(name: str, segments: Sequence[Segment]) -> Score:
    return scored([reference_text(name)], [text_of(segments)])


def share_in(language: str, segments: Sequence[Segment]) -> float:
    """Which share of the speech was written in a language."""
    seconds = [segment.end - segment.start for segment in segments]
    right = [segment.language == language for segment in segments]
    return sum(np.multiply(seconds, right)) / sum(seconds)


@pytest.mark.parametrize("name", KINDS)
def test_no_run_of_words_is_missing_and_each_sentence_has_its_language(transcription: Transcription, name: str) -> None:
    segments = transcription(name)
    score = score_of(name, segments)
    assert score.longest_missing <= 8
    assert score.rate <= 0.3  # of 40 s in a language that whisper-base knows badly; the bench counts all kinds
    assert share_in(name[-2:], segments) >= 0.9


def test_few_words_of_all_kinds_are_wrong_and_nearly_all_are_in_their_language(transcription: Transcription) -> None:
    # 10 % of 400 words are wrong here, and none is in another language; the bench counts all kinds
    assert Score.pooled([score_of(name, transcription(name)) for name in KINDS]).rate <= 0.13
    assert sum(share_in(name[-2:], transcription(name)) for name in KINDS) / len(KINDS) >= 0.98


def test_three_languages_in_one_recording_are_each_transcribed(transcription: Transcription) -> None:
    segments = transcription("languages")
    score = score_of("languages", segments)
    assert score.longest_missing <= 8
    assert score.rate <= 0.2
    for language, start, end in json.loads((FOLDER / "languages.json").read_text(encoding="utf-8")):
        theirs = [segment for segment in segments if start <= (segment.start + segment.end) / 2 < end]
        assert share_in(language, theirs) >= 0.8, language


def test_the_text_depends_neither_on_batches_nor_on_how_many_windows_are_done_at_once(whisper: Whisper) -> None:
    # Given a model that transcribes two windows at the same time
    two = load(bundled.folder(), bundled.IDENTITY, ComputeOptions(at_once=2))
    assert two.parallel.count == 2
    samples = recording("languages")
    # Then it finds what one finds that transcribes them one by one
    assert transcribed(two, samples, size=8) == transcribed(whisper, samples, size=1)


def test_windows_that_are_filled_as_on_a_gpu_have_the_same_text_alone_and_in_batches(whisper: Whisper) -> None:
    # Given a network that fills windows up to 30 s and does a batch at once, here on a CPU
    network = Network(str(bundled.folder()), ComputeOptions(compute_type="int8"), padded=True)
    padded = Whisper(whisper.identity, "", network, Parallel())
    samples = recording("prompts-en")[: 20 * SAMPLE_RATE]
    together, alone = (transcribed(padded, samples, size=size) for size in (4, 1))
    assert text_of(together) == text_of(alone)
    assert scored([text_of(transcribed(whisper, samples))], [text_of(together)]).rate < 0.1


def test_speech_is_translated_on_request(whisper: Whisper) -> None:
    # Given the English translation of a Spanish recording, when a translation is requested
    expected = set(plain(IN_ENGLISH).split())
    translated = set(plain(text_of(transcribed(whisper, recording("prompts-es"), translate=True))).split())
    # Then at least half of its words are there: whisper-base finds two thirds
    assert len(expected & translated) >= 0.5 * len(expected)


def test_a_vocabulary_brings_its_names_and_no_others(whisper: Whisper, transcription: Transcription) -> None:
    # Given recordings, each with a vocabulary of the words in it that are wrong here, and of some that do not occur
    before, after = ([score_of(name, transcription(name)) for name in MISHEARD], list[Score]())
    misheard = written = 0
    for name in MISHEARD:
        terms = sorted(_long_words(reference_text(name)) - _long_words(text_of(transcription(name))))
        # When they are transcribed with it
        segments = transcribed(whisper, recording(name), vocabulary=(*terms, *UNSAID))
        misheard += len(terms)
        written += len(set(terms) & _long_words(text_of(segments)))
        after.append(score_of(name, segments))
        # Then terms that do not occur are not in the text
        assert not [term for term in UNSAID if term.lower() in text_of(segments).lower()], name
    # And at least a third of the misheard words is right (half of 15 is usual), and in all no more words are wrong
    assert misheard >= 8
    assert written >= misheard / 3, (written, misheard)
    assert Score.pooled(after).errors <= Score.pooled(before).errors


def _long_words(text: str) -> set[str]:
    return set(re.findall(r"\w{5,}", text.lower()))


def test_the_longest_prompt_and_vocabulary_leave_room_for_the_text(whisper: Whisper) -> None:
    # Given as much of both as a task may have, in characters that take many tokens
    letters = "通话记录。"
    samples = recording("prompts-ru")[: 20 * SAMPLE_RATE]
    prompt = (letters * 800)[:800]
    terms = tuple(f"{number} {letters * 60}"[:60].strip() for number in range(100))
    # Then most of the speech is still transcribed
    plain, guided = (
        text_of(transcribed(whisper, samples)),
        text_of(transcribed(whisper, samples, prompt=prompt, vocabulary=terms)),
    )
    assert len(guided) > 0.5 * len(plain)


@pytest.mark.parametrize(
    "audio",
    [silence(40), np.sin(np.arange(LONG) / 6) / 3, np.random.default_rng(1).standard_normal(LONG) * 0.05],
    ids=["silence", "hum", "noise"],
)
def test_audio_without_speech_has_no_text(whisper: Whisper, audio: Samples) -> None:
    assert transcribed(whisper, audio.astype(np.float32)) == []
