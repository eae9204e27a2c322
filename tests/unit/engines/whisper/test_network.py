"""What Whisper's network encodes and decodes, and how its output is read, with a fake of faster-whisper."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.window_audio import WindowAudio
from app.engines.family import ComputeOptions
from app.engines.whisper import network
from app.engines.whisper.network import Decoded, DecodeOptions, EncodedPart, Network, encoded_part
from app.engines.windows import MAX_WINDOW_S

EOT, WIDTH = 1000, 4
FRAMES = 50  # a second


@dataclass
class Generated:
    sequences_ids: list[list[int]]
    scores: list[float]
    no_speech_prob: float


@dataclass
class FakeModel:
    """faster-whisper's model and CTranslate2's, in one."""

    is_multilingual: bool = True
    max_length: int = 448
    encoded: list[tuple[int, ...]] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[list[list[int]]] = field(default_factory=list)
    decoded: list[np.ndarray] = field(default_factory=list)
    aligned: list[dict[str, Any]] = field(default_factory=list)
    frames: int = 0

    @property
    def model(self) -> "FakeModel":
        return self

    @property
    def hf_tokenizer(self) -> "FakeModel":
        return self

    def token_to_id(self, token: str) -> int | None:
        return 7 if token == "<|ru|>" else None  # noqa: S105 -- of a text

    def feature_extractor(self, samples: np.ndarray) -> np.ndarray:
        return np.ones((80, 2 * len(samples) * FRAMES // SAMPLE_RATE + 300), np.float32)

    def encode(self, features: np.ndarray, *, to_cpu: bool) -> np.ndarray:
        assert to_cpu
        self.encoded.append(features.shape)
        return np.zeros((features.shape[0], features.shape[2] // 2, WIDTH), np.float32)

    def detect_language(self, _: object) -> list[list[tuple[str, float]]]:
        return [[("<|en|>", 0.9), ("<|ru|>", 0.1)]]

    def generate(self, encoded: np.ndarray, prompts: list[list[int]], **options: Any) -> list[Generated]:
        self.decoded.append(encoded)
        self.prompts.append(prompts)
        self.options.append(options)
        return [Generated([[1, 2, EOT]], [-0.5], 1.5) for _ in prompts]

    def get_prompt(self, _: object, before: list[int], *, without_timestamps: bool, hotwords: str | None) -> list[int]:
        assert without_timestamps
        return [*before, *([-len(hotwords.split(", "))] if hotwords else []), 0]

    def find_alignment(self, _: object, __: object, ___: object, frames: int) -> list[list[dict[str, Any]]]:
        self.frames = frames
        return [self.aligned]


class FakeTokenizer:
    """A token for each word."""

    eot = EOT
    made: list[tuple[bool, str, str]]

    def __init__(self, _: object, multilingual: bool, *, task: str, language: str) -> None:
        FakeTokenizer.made.append((multilingual, task, language))

    def encode(self, text: str) -> list[int]:
        return list(range(len(text.split())))

    def decode(self, tokens: Sequence[int]) -> str:
        return " ".join(map(str, tokens))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    fake = FakeModel()
    FakeTokenizer.made = []
    monkeypatch.setattr(network, "WhisperModel", lambda *_, **__: fake)
    monkeypatch.setattr(network, "Tokenizer", FakeTokenizer)
    monkeypatch.setattr(network, "get_suppressed_tokens", lambda _, usual: {-1: (1, 2)}[usual[0]])
    monkeypatch.setattr(network, "_view", lambda array: array)
    return fake


def loaded(*, padded: bool = False) -> Network:
    return Network("folder", ComputeOptions(), padded=padded)


def clip(seconds: float) -> WindowAudio:
    return WindowAudio(np.zeros(round(seconds * SAMPLE_RATE), np.float32), [(0.0, seconds)])


def part(frames: int, seconds: float = 2.0, start: float = 0.0, language: str = "en") -> EncodedPart:
    return EncodedPart(
        clip(seconds), start, language, np.arange(frames * WIDTH, dtype=np.float32).reshape(frames, WIDTH)
    )


@pytest.mark.parametrize(
    ("padded", "seconds", "frames"),
    [
        (False, 0.5, 500),
        (False, 9.0, 500),
        (False, 9.5, 525),
        (False, 29.5, 1500),
        (False, 40.0, 1500),
        (True, 2.0, 1500),
    ],
)
def test_a_clip_is_encoded_with_a_second_of_silence(
    model: FakeModel, padded: bool, seconds: float, frames: int
) -> None:
    # When a clip is encoded, alone or padded up to thirty seconds
    (encoded,) = loaded(padded=padded).encode([clip(seconds)])
    # Then the encoder reads two frames for each of its own
    assert model.encoded == [(1, 80, 2 * frames)]
    assert len(encoded) == frames


@pytest.mark.parametrize(("padded", "batches"), [(False, [1, 1]), (True, [2])])
def test_only_filled_clips_form_a_batch(model: FakeModel, padded: bool, batches: list[int]) -> None:
    assert len(loaded(padded=padded).encode([clip(2), clip(12)])) == 2
    assert [shape[0] for shape in model.encoded] == batches


@pytest.mark.parametrize(
    ("multilingual", "language", "is_known"),
    [(True, "ru", True), (True, "xx", False), (False, "en", True), (False, "ru", False)],
)
def test_which_languages_it_knows(model: FakeModel, multilingual: bool, language: str, is_known: bool) -> None:
    model.is_multilingual = multilingual
    assert loaded().knows(language) is is_known
    assert loaded().english_only is not multilingual
    assert loaded().detect(np.zeros((3, WIDTH), np.float32)) == {"en": 0.9, "ru": 0.1}


LONGEST = round((MAX_WINDOW_S + 1) * FRAMES)


def test_parts_of_one_padded_length_form_a_batch(model: FakeModel) -> None:
    # Given parts of several lengths
    frames = [600, 500, 10, LONGEST, 501, LONGEST + 1]
    decoded = loaded().decode([part(count) for count in frames], DecodeOptions())
    # Then each is padded to one of two lengths, unless it is longer than both
    assert [encoded.shape[:2] for encoded in model.decoded] == [(2, 500), (3, LONGEST), (1, LONGEST + 1)]
    assert len(decoded) == len(frames)


def test_padding_repeats_the_silence_at_the_end(model: FakeModel) -> None:
    piece = part(450)
    loaded().decode([piece], DecodeOptions())
    # Then the last 0.8 s follow again and again
    ((padded,),) = model.decoded
    assert np.array_equal(padded, np.concatenate([piece.encoded, piece.encoded[-40:], piece.encoded[-40:-30]]))


def test_a_reply_is_its_text_and_how_sure_it_is(model: FakeModel) -> None:
    (decoded,) = loaded().decode([part(450)], DecodeOptions())
    assert decoded.tokens == [1, 2]
    assert decoded.avg_logprob == pytest.approx(-0.5 * 3 / 4)
    assert decoded.no_speech_prob == 1.0
    assert loaded().text(part(1), decoded) == "1 2"
    assert FakeTokenizer.made[-1] == (True, "transcribe", "en")


@pytest.mark.parametrize(
    ("padded", "seconds", "longest"), [(False, 2.0, 1 + 2 * 90), (False, 7.3, 1 + 2 * 223), (True, 2.0, 448)]
)
def test_a_text_has_a_longest_length(model: FakeModel, padded: bool, seconds: float, longest: int) -> None:
    loaded(padded=padded).decode([part(450, seconds), part(450, seconds / 2)], DecodeOptions())
    assert model.options[0]["max_length"] == longest


@pytest.mark.parametrize(("break_loops", "tokens", "interim", "beam"), [(True, 3, False, 5), (False, 0, True, 1)])
def test_how_it_decodes(model: FakeModel, break_loops: bool, tokens: int, interim: bool, beam: int) -> None:
    loaded().decode([part(450)], DecodeOptions(break_loops=break_loops, translate=True, interim=interim))
    expected = {"no_repeat_ngram_size": tokens, "suppress_tokens": [1, 2], "beam_size": beam}
    expected |= {"return_scores": True, "return_no_speech_prob": True}
    assert model.options[0] | expected == model.options[0]
    assert ("translate", "en") in [(task, language) for _, task, language in FakeTokenizer.made]


@pytest.mark.parametrize(
    ("prompt", "terms", "tokens", "named"),
    [
        (None, [], 0, 0),
        ("one two", [], 2, 0),
        ("x " * 300, [], 220, 0),
        (None, ["a"] * 110, 0, 110),
        (None, ["a"] * 111, 0, 110),
        ("x " * 300, ["a"] * 10, 210, 10),
        ("x " * 300, ["a"] * 200, 110, 110),
    ],
)
def test_a_prompt_has_room_beside_the_terms(
    model: FakeModel, prompt: str | None, terms: list[str], tokens: int, named: int
) -> None:
    loaded().decode([part(450)], DecodeOptions(prompt=prompt, terms=terms))
    ((tokens_of_prompt,),) = model.prompts
    assert tokens_of_prompt[-1] == 0
    assert len([token for token in tokens_of_prompt[:-1] if token >= 0]) == tokens
    assert [-token for token in tokens_of_prompt if token < 0] == [named] * bool(named)
    if tokens and prompt:  # the end of the prompt counts
        assert tokens_of_prompt[tokens - 1] == len(prompt.split()) - 1


def test_control_tokens_are_words_in_a_prompt(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def encode(_: FakeTokenizer, text: str) -> list[int]:
        texts.append(text)
        return [1]

    monkeypatch.setattr(FakeTokenizer, "encode", encode)
    loaded().decode([part(450)], DecodeOptions(prompt="<|translate|>", terms=["<|ru|>"]))
    assert texts == [" <ru>,", " <translate>"]


def test_words_have_their_times_in_the_window(model: FakeModel) -> None:
    # Given words of which one ends before it begins, one is empty and one is surer than sure
    model.aligned = [
        {"word": " one", "start": 0.5, "end": 0.9, "probability": 1.2, "tokens": [1]},
        {"word": " two", "start": 1.5, "end": 1.2, "probability": -0.1, "tokens": [2]},
        {"word": "", "start": 2.0, "end": 2.0, "probability": 0.5, "tokens": [3]},
    ]
    # When they are requested
    words = loaded().words(part(450, 2.0, start=10.0), Decoded([1, 2], 0.0, 0.0), translate=False)
    # Then they are in the window's time, in their order
    assert [(word.word, word.start, word.end, word.probability) for word in words] == [
        (" one", 10.5, 10.9, 1.0),
        (" two", 11.5, 11.5, 0.0),
    ]
    assert model.frames == 200


@pytest.mark.parametrize(("seconds", "encoded", "frames"), [(2.01, 450, 202), (20.0, 450, 900)])
def test_words_are_aligned_within_the_audio(model: FakeModel, seconds: float, encoded: int, frames: int) -> None:
    loaded().words(part(encoded, seconds), Decoded([1], 0.0, 0.0), translate=True)
    assert model.frames == frames


@pytest.mark.parametrize(
    ("piece", "first", "frames"), [((0.0, 1.0), 0, 50), ((0.99, 1.01), 49, 2), ((1.0, 1.001), 50, 1)]
)
def test_the_part_of_a_piece_has_all_its_frames(piece: tuple[float, float], first: int, frames: int) -> None:
    cut = encoded_part(part(450).encoded, piece)
    assert (cut[0, 0], len(cut)) == (first * WIDTH, frames)
