"""Which languages and texts are chosen, for a network whose speech is numbers: 1 is English, 2 Russian, 1.5 unclear."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock

import numpy as np
import pytest
from natscribe.schemas.transcription import TranscribeOptions, Word
from natscribe.schemas.wire import Model

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.window_audio import WindowAudio
from app.engines.family import ComputeOptions
from app.engines.parallel import Parallel
from app.engines.speech_model import ModelOutput, Text
from app.engines.text.languages import Evidence
from app.engines.text.sentences import text_of
from app.engines.whisper import model
from app.engines.whisper.model import Whisper
from app.engines.whisper.network import Decoded, DecodeOptions, Encoded, EncodedPart
from app.runtime.errors import PermanentError

EN, RU, UNSURE = 1.0, 2.0, 1.5
PRECISIONS = {"cpu": {"int8", "float32"}, "cuda": {"float16"}}  # as a library knows them on each device
STEP = SAMPLE_RATE // 50


def clip(*pieces: tuple[float, float]) -> WindowAudio:
    """Pieces of speech: seconds, and what is spoken."""
    ends = np.cumsum([seconds for seconds, _ in pieces])
    samples = np.concatenate([np.full(round(seconds * SAMPLE_RATE), what, np.float32) for seconds, what in pieces])
    return WindowAudio(samples, [(end - seconds, end) for end, (seconds, _) in zip(ends, pieces, strict=True)])


class FakeNetwork:
    """Writes what `say` says of a part; remembers its calls."""

    english_only = False
    padded = False

    def __init__(self, text_of: Callable[[EncodedPart, DecodeOptions], str]) -> None:
        self._say = text_of
        self.decoded: list[tuple[EncodedPart, DecodeOptions]] = []
        self.encoded: list[float] = []  # seconds
        self.detected = 0
        self.texts: list[str] = []
        self._lock = Lock()
        self.probabilities = (-0.1, 0.0)  # avg_logprob, no_speech_prob
        self.timed: Callable[[list[Word]], list[Word]] = lambda words: words  # what becomes of the words of a text

    def knows(self, language: str) -> bool:
        return language in {"en", "ru"}

    def encode(self, clips: Sequence[WindowAudio]) -> list[Encoded]:
        self.encoded += [one_clip.seconds for one_clip in clips]
        return [one_clip.samples[::STEP, np.newaxis] for one_clip in clips]

    def detect(self, encoded: Encoded) -> Evidence:
        self.detected += 1
        what = float(encoded.mean())
        if what == UNSURE:
            return {"en": 0.5, "ru": 0.4, "pl": 0.1}
        return {"en": 0.98, "ru": 0.005} if what < UNSURE else {"ru": 0.98, "en": 0.005}

    def decode(self, parts: Sequence[EncodedPart], decoding: DecodeOptions) -> list[Decoded]:
        with self._lock:
            self.decoded += [(part, decoding) for part in parts]
            self.texts += [self._say(part, decoding) for part in parts]
            first = len(self.texts) - len(parts)
            return [Decoded([number], *self.probabilities) for number in range(first, len(self.texts))]

    def text(self, _: EncodedPart, decoded: Decoded) -> str:
        return self.texts[decoded.tokens[0]]

    def words(self, part: EncodedPart, decoded: Decoded, *, translate: bool) -> list[Word]:  # noqa: ARG002 -- as the network's
        """Two words a second."""
        words = self.texts[decoded.tokens[0]].split()
        return self.timed([word_at(part.start + number / 2, word) for number, word in enumerate(words)])


def word_at(start: float, word: str) -> Word:
    return Word(start=start, end=start + 0.5, word=f" {word}", probability=0.9)


def by_language(part: EncodedPart, _: DecodeOptions) -> str:
    word = {"en": "yes", "ru": "да"}.get(part.language, "???")
    return " ".join(f"{word}{number}" for number in range(int(part.audio.seconds * 2)))


def whisper(network: FakeNetwork, at_once: int = 1) -> Whisper:
    return Whisper(Model(name="fake", revision="1"), "cpu", network, Parallel(at_once))  # type: ignore[arg-type]  # as the network does


def transcribed(
    network: FakeNetwork,
    *clips: WindowAudio,
    previous: Sequence[str | None] = (),
    interim: bool = False,
    **options: object,
) -> list[ModelOutput]:
    chosen = TranscribeOptions.model_validate(options)
    return whisper(network).transcribe(clips, chosen, previous or [None] * len(clips), interim=interim)


def texts_of(network: FakeNetwork, clip: WindowAudio, vocabulary: Sequence[str] = ()) -> Sequence[Text]:
    (output,) = transcribed(network, clip, vocabulary=vocabulary)
    return output.texts


def languages(outputs: Sequence[ModelOutput]) -> list[list[str | None]]:
    return [[text.language for text in output.texts] for output in outputs]


def test_a_window_with_a_change_of_language_is_decoded_in_two_parts() -> None:
    # Given four sentences, the last two in Russian
    network = FakeNetwork(by_language)
    (output,) = transcribed(network, clip((4, EN), (4, EN), (4, RU), (4, RU)))
    # Then each language has its own text, at its own time, encoded without audio of the other
    english, russian = output.texts
    assert [english.language, russian.language, output.language] == ["en", "ru", "ru"]
    assert [english.words[0].start, russian.words[0].start] == [0.0, 8.0]
    assert network.encoded[-2:] == [8.0, 8.0]


def test_one_language_is_encoded_once() -> None:
    network = FakeNetwork(by_language)
    transcribed(network, replace(clip((12, EN)), speech=[(0.5, 4), (4.5, 8), (8.5, 11.5)]))
    assert network.encoded == [12.0]


@pytest.mark.parametrize(("seconds", "detected"), [(4, ["en", "ru", "en"]), (0.4, ["en"])])
def test_a_sentence_in_another_language_is_not_lost_between_others_and_a_moment_is(
    seconds: float, detected: list[str]
) -> None:
    assert languages(transcribed(FakeNetwork(by_language), clip((4, EN), (seconds, RU), (4, EN)))) == [detected]


@pytest.mark.parametrize(
    ("seconds", "what", "again"), [(4.0, UNSURE, 1), (1.0, UNSURE, 1), (0.9, UNSURE, 0), (4.0, EN, 0)]
)
def test_an_unsure_sentence_beside_another_language_is_detected_again_on_its_own(
    seconds: float, what: float, again: int
) -> None:
    # Given a Russian sentence, and one behind it that may be English
    network = FakeNetwork(by_language)
    transcribed(network, clip((4, RU), (seconds, what)))
    # Then its language is detected in its own audio, too, unless it is sure or too short
    assert network.detected == 2 + again


def test_no_window_takes_the_language_of_another_one_in_its_batch() -> None:
    # Given an unsure window after Russian, beside English ones of other recordings
    clips = [clip((8, EN)), clip((4, UNSURE)), clip((8, EN))]
    outputs = transcribed(FakeNetwork(by_language), *clips, previous=["en", "ru", "en"])
    # Then it is Russian
    assert languages(outputs) == [["en"], ["ru"], ["en"]]


def test_a_group_is_decoded_while_later_windows_are_encoded() -> None:
    # Given a network that encodes the last of four windows only when the first is decoded, two at the same time
    first_is_decoded = Event()

    class Network(FakeNetwork):
        def encode(self, clips: Sequence[WindowAudio]) -> list[Encoded]:
            if clips[0].seconds == 6:
                assert first_is_decoded.wait(10)
            return super().encode(clips)

        def decode(self, parts: Sequence[EncodedPart], decoding: DecodeOptions) -> list[Decoded]:
            first_is_decoded.set()
            return super().decode(parts, decoding)

    # When they are transcribed
    network = Network(by_language)
    clips = [clip((8, EN)), clip((8, RU)), clip((8, UNSURE)), clip((6, EN))]
    previous = ["ru", "en", "ru", "en"]
    outputs = whisper(network, at_once=2).transcribe(clips, TranscribeOptions(), previous)

    # Then each has its own text and the language before it where its own is unclear, as one by one
    assert languages(outputs) == [["en"], ["ru"], ["ru"], ["en"]]
    assert outputs == transcribed(FakeNetwork(by_language), *clips, previous=previous)


def test_on_a_gpu_windows_are_encoded_together() -> None:
    # Given a network that pads windows to one length, when two windows are transcribed, then it is called once
    batch_sizes: list[int] = []

    class Network(FakeNetwork):
        padded = True

        def encode(self, clips: Sequence[WindowAudio]) -> list[Encoded]:
            batch_sizes.append(len(clips))
            return super().encode(clips)

    assert languages(transcribed(Network(by_language), clip((8, EN)), clip((8, RU)))) == [["en"], ["ru"]]
    assert batch_sizes == [2]


def test_a_sure_window_is_settled() -> None:
    # Given a window in clear English after Russian, and an unclear one after it
    outputs = transcribed(FakeNetwork(by_language), clip((4, EN)), clip((4, UNSURE)), previous=["ru", "en"])
    # Then both are English, but only the first one in any case
    assert languages(outputs) == [["en"], ["en"]]
    assert [output.settled for output in outputs] == [True, False]


def test_a_language_that_was_requested_is_not_detected() -> None:
    network = FakeNetwork(by_language)
    (output,) = transcribed(network, clip((8, EN)), language="ru")
    assert ([text.language for text in output.texts], network.detected, output.settled) == (["ru"], 0, True)


@pytest.mark.parametrize("interim", [False, True])
@pytest.mark.parametrize(("avg_logprob", "no_speech", "texts"), [(-1.01, 0.61, 0), (-1.0, 0.61, 1), (-1.01, 0.6, 1)])
def test_text_is_dropped_if_both_speech_and_words_are_doubtful(
    avg_logprob: float, no_speech: float, texts: int, interim: bool
) -> None:
    network = FakeNetwork(by_language)
    network.probabilities = (avg_logprob, no_speech)
    (output,) = transcribed(network, clip((8, EN)), interim=interim)
    assert len(output.texts) == texts


def test_a_text_whose_words_have_no_times_is_one_word() -> None:
    # Given a network that finds no times, when two languages are spoken, then each text takes the time of its part
    network = FakeNetwork(lambda part, _: part.language)
    network.timed = lambda _: []
    texts = texts_of(network, clip((4, EN), (4, EN), (4, RU)))
    assert [(word.word, word.start, word.end) for text in texts for word in text.words] == [("en", 0, 8), ("ru", 8, 12)]


def test_marks_without_a_letter_are_no_text_and_speech_without_text_is_reported() -> None:
    network = FakeNetwork(lambda *_: "... !")
    assert [text.words for text in texts_of(network, clip((8, EN)))] == [[]]
    network.probabilities = (-0.1, 0.9)
    assert texts_of(network, clip((8, EN))) == []


def test_terms_are_used_only_where_one_may_be_spoken() -> None:
    # Given a vocabulary, and one window of two in which something sounds like a term
    def decoded_text(part: EncodedPart, decoding: DecodeOptions) -> str:
        text = "we run nat scribe today" if part.audio.seconds > 6 else "hm"
        return text.replace("nat scribe", "Natscribe") if decoding.terms else text

    network = FakeNetwork(decoded_text)
    outputs = transcribed(network, clip((4, EN)), clip((8, EN)), vocabulary=("Natscribe",))
    # Then that window alone is decoded again, with that term alone
    assert [decoding.terms for _, decoding in network.decoded] == [(), (), ["Natscribe"]]
    assert [text_of(output.texts[0].words) for output in outputs] == ["hm", "we run Natscribe today"]


def test_a_text_that_the_terms_have_spoilt_is_not_kept() -> None:
    text_by_terms: dict[tuple[str, ...], str] = {(): "we run nat scribe in the cellar today"}
    network = FakeNetwork(lambda _, decoding: text_by_terms.get(tuple(decoding.terms), "Natscribe Natscribe Natscribe"))
    (text,) = texts_of(network, clip((8, EN)), vocabulary=("Natscribe",))
    assert text_of(text.words) == "we run nat scribe in the cellar today"


def test_prompt_and_translation_reach_the_network() -> None:
    network = FakeNetwork(by_language)
    transcribed(network, clip((8, RU)), prompt="A call.", translate=True)
    assert network.decoded[0][1] == DecodeOptions(prompt="A call.", translate=True)


@pytest.mark.parametrize(("last", "seconds"), [("done.", 1.0), ("29340.", 3.0)])
def test_a_word_before_a_pause_does_not_include_the_pause(last: str, seconds: float) -> None:
    # Given a text whose last word includes the pause after it; a number is spoken digit by digit
    network = FakeNetwork(lambda *_: f"it is well {last}")
    network.timed = lambda words: [*words[:-1], words[-1].model_copy(update={"end": words[-1].start + 3.0})]
    (text,) = texts_of(network, clip((8, EN)))
    assert text.words[-1].end - text.words[-1].start == seconds


def test_a_loop_is_decoded_again_in_halves() -> None:
    # Given a network that loops over long audio alone
    network = FakeNetwork(
        lambda part, decoding: "so so " * 6 if part.audio.seconds > 6 else by_language(part, decoding)
    )
    texts = texts_of(network, clip((4, EN), (4, EN)))
    assert [text_of(text.words)[:9] for text in texts] == ["yes0 yes1", "yes0 yes1"]
    assert [text.words[0].start for text in texts] == [0.0, 4.0]


def test_a_half_that_loops_too_is_decoded_without_repetitions() -> None:
    network = FakeNetwork(lambda part, decoding: by_language(part, decoding) if decoding.break_loops else "so so " * 8)
    texts = texts_of(network, clip((4, EN), (4, EN)))
    assert [text.words[0].word for text in texts] == [" yes0", " yes0"]


def test_a_half_without_speech_has_no_text() -> None:
    # Given a network that loops over long audio, of which the second half is silent
    def text(part: EncodedPart, decoding: DecodeOptions) -> str:
        network.probabilities = (-1.1, 0.9) if part.start else (-0.1, 0.0)
        return "so so " * 8 if part.audio.seconds > 6 else by_language(part, decoding)

    network = FakeNetwork(text)
    assert [text.words[0].start for text in texts_of(network, clip((4, EN), (4, EN)))] == [0.0]


def test_an_interim_pass_is_decoded_once_without_terms_and_without_candidates() -> None:
    # Given a text in which a term may be spoken
    network = FakeNetwork(lambda *_: "the natskribe service")
    # When an interim pass transcribes it
    options = {"vocabulary": ("Natscribe",), "prompt": "About logs."}
    (output,) = transcribed(network, clip((4, EN)), interim=True, **options)
    # Then the network decodes once, in greedy decoding, with the prompt alone
    assert [decoding for _, decoding in network.decoded] == [DecodeOptions(prompt="About logs.", interim=True)]
    assert [text_of(text.words) for text in output.texts] == ["the natskribe service"]


def test_an_interim_pass_that_loops_has_no_words() -> None:
    # Given a network that loops, in an interim pass, then it is called once, and nothing is shown
    network = FakeNetwork(lambda *_: "so so " * 8)
    (output,) = transcribed(network, clip((8, EN)), interim=True)
    assert ([list(text.words) for text in output.texts], len(network.decoded)) == ([[]], 1)


def test_what_people_really_repeat_stays() -> None:
    # Given a person who says the same for 8 s, of which nothing but silence is left without repetitions
    network = FakeNetwork(lambda _, decoding: "no" if decoding.break_loops else "no " * 16)
    texts = texts_of(network, clip((4, EN), (4, EN)))
    assert [text_of(text.words) for text in texts] == ["no " * 15 + "no"]


def test_text_too_long_for_its_duration_is_dropped() -> None:
    # Given a network that loops faster than anybody speaks, in halves too, with repetitions forbidden too
    network = FakeNetwork(lambda *_: "tu " * 200)
    texts = texts_of(network, clip((4, EN), (4, EN)))
    # Then there is a text without words, which says that a person speaks
    assert texts
    assert [word for text in texts for word in text.words] == []


@pytest.mark.parametrize(
    ("options", "english_only", "problem"),
    [
        ({"language": "tlh"}, False, "does not know the language 'tlh'"),
        ({"language": "ru"}, True, "does not know the language 'ru'"),
        ({"translate": True}, True, "knows English alone and cannot translate"),
    ],
)
def test_what_the_model_cannot_do_is_refused(options: dict[str, object], english_only: bool, problem: str) -> None:
    network = FakeNetwork(by_language)
    network.english_only = english_only
    network.knows = lambda language: language == "en"  # type: ignore[method-assign]  # whatever it was trained on
    model = whisper(network)
    with pytest.raises(PermanentError, match=problem):
        model.check(TranscribeOptions.model_validate(options))
    model.check(TranscribeOptions(language="en", translate=not english_only))


def test_a_sentence_does_not_begin_or_end_with_a_pause() -> None:
    # Given words whose times include pauses: before sentences, within one, and behind one
    times = {" One": (0, 5), " two": (5, 5.5), " three.": (5.5, 6), " Four": (6, 11), " five": (11, 11.5)}
    times |= {" six": (11.5, 16.5), " seven.": (16.5, 21.5)}

    # When they are transcribed
    network = FakeNetwork(lambda *_: "One")
    network.timed = lambda _: [Word(start=a, end=b, word=word, probability=1) for word, (a, b) in times.items()]
    (text,) = texts_of(network, clip((22, EN)))
    # Then no sentence starts long before its first word is spoken, nor ends long after its last one
    times_of_words = {word.word: (word.start, word.end) for word in text.words}
    changed = {
        " One": (pytest.approx(3.6), 5),
        " Four": (pytest.approx(9.6), 11),
        " seven.": (16.5, pytest.approx(17.9)),
    }
    assert times_of_words == times | changed
    # And where most words have no length, none is changed
    times = {" One": (0, 0), " two": (0, 0), " three.": (0, 1)}
    (text,) = texts_of(network, clip((22, EN)))
    assert {word.word: (word.start, word.end) for word in text.words} == times


@pytest.mark.parametrize(
    ("gpus", "device", "precision", "fingerprint", "at_once"),
    [
        (0, "auto", None, "cpu int8 beam 5", 4),
        (1, "auto", None, "cuda float16 beam 5", 1),
        (1, "cpu", "float32", "cpu float32 beam 5", 4),
        (0, "cuda", "int8", "cuda int8 beam 5", 1),  # the library says that there is no such device
    ],
)
def test_a_model_computes_on_the_device_that_there_is(
    monkeypatch: pytest.MonkeyPatch, gpus: int, device: str, precision: str | None, fingerprint: str, at_once: int
) -> None:
    # Given a machine with a GPU or without
    opened: list[tuple[ComputeOptions, bool]] = []

    def network(_: str, computing: ComputeOptions, *, padded: bool) -> FakeNetwork:
        opened.append((computing, padded))
        return FakeNetwork(by_language)

    monkeypatch.setattr(model, "get_cuda_device_count", lambda: gpus)
    monkeypatch.setattr(model, "get_supported_compute_types", PRECISIONS.__getitem__)
    monkeypatch.setattr(model, "Network", network)
    # When a model is loaded
    computing = ComputeOptions(device=device, compute_type=precision, at_once=4)
    loaded = model.load(Path(), Model(name="fake", revision="1"), computing)
    # Then it computes there; a GPU transcribes all windows of a batch together
    assert (loaded.fingerprint, loaded.parallel.count) == (fingerprint, at_once)
    ((used, padded),) = opened
    assert (f"{used.device} {used.compute_type} beam 5", used.at_once) == (fingerprint, at_once)
    assert padded is (used.device == "cuda")


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_precision_that_a_device_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.setattr(model, "get_cuda_device_count", lambda: gpus)
    monkeypatch.setattr(model, "get_supported_compute_types", PRECISIONS.__getitem__)
    with pytest.raises(PermanentError, match="float16"):
        model.load(Path(), Model(name="fake", revision="1"), ComputeOptions(compute_type="float16"))
