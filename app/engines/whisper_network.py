"""Whisper's network: the one place that the untyped objects of faster-whisper and CTranslate2 pass through.

On a CPU, sound is encoded alone and with a second of silence behind it, though Whisper was trained on 30 s: the time
that takes grows faster than the sound, and batches gain nothing. Texts are written in batches, for which the silence
behind the sound is drawn out, always as far, so that no text depends on the others of its batch. On a GPU sound is
filled up to 30 s, and encoded in batches, too.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from ctranslate2 import StorageView
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens, merge_punctuations

from app.engines.clips import Clip
from app.engines.languages import Evidence
from app.engines.messages import LONGEST_WINDOW
from app.engines.timeline import Piece
from schemas.transcription import Word

Encoded = npt.NDArray[np.float32]  # (frames, width)

FRAMES_A_SECOND = 50  # of what the encoder has made of sound; its own input has twice as many
_LONGEST_S = 30.0
_SHORTEST_S = 10.0  # of sound and silence together: with less, languages and short words are mistaken
_SILENCE_S = 1.0  # kept behind the sound, so that its end is heard
_LENGTHS = [ceil(seconds * FRAMES_A_SECOND) for seconds in (_SHORTEST_S, LONGEST_WINDOW + _SILENCE_S)]
_DRAWN_OUT = 40  # frames, .8 s, of silence that are repeated; a single frame is taken for something said
_TOKENS_A_SECOND, _TOKENS_AT_LEAST = 25, 40  # people speak no faster; a loop would go on to the model's limit
_TOKENS_BEFORE, _TOKENS_OF_TERMS = 220, 110  # of 448: what is told before a text, and terms of that
_UNBROKEN_LOOP = 3  # tokens; a sequence that long is not said again when a text is written anew
_PREPENDED = "\"'“¿([{-«"
_APPENDED = "\"'.。,，!！?？:：”)]}、»"  # noqa: RUF001 -- other scripts have marks of their own

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Way:
    """How a model computes: on which device, how exactly, how many windows at once, each with how many threads."""

    device: str = "cpu"
    compute_type: str = "int8"
    threads: int = 1
    at_once: int = 1
    beam: int = 5


@dataclass(frozen=True, slots=True)
class Part:
    """Sound in one language, `start` seconds after its clip's start, and what the encoder has made of it."""

    clip: Clip
    start: float
    language: str
    encoded: Encoded


@dataclass(frozen=True, slots=True)
class Written:
    """A text as the decoder wrote it."""

    tokens: Sequence[int]
    avg_logprob: float
    no_speech_prob: float


@dataclass(frozen=True, slots=True)
class Hints:
    """What a text is written with: what was said before, terms that may be said, translation, no phrase twice."""

    prompt: str | None = None
    terms: Sequence[str] = ()
    translate: bool = False
    break_loops: bool = False


class Network:
    """A loaded network. Nothing that it makes of a clip depends on other clips."""

    def __init__(self, folder: str, way: Way, *, filled: bool) -> None:
        """`filled`: sound is filled up to 30 s, and a batch is done at once.

        Raises:
            RuntimeError, ValueError, OSError: the files are damaged, or the device does not do.
        """
        self._model = WhisperModel(
            folder,
            device=way.device,
            compute_type=way.compute_type,
            cpu_threads=way.threads,
            num_workers=way.at_once,
            local_files_only=True,
        )
        self._beam = way.beam
        self._filled = filled
        self._at_once = way.at_once
        self._threads = ThreadPoolExecutor(way.at_once, thread_name_prefix="windows")
        self._tokenizers: dict[tuple[str, bool], Tokenizer] = {}

    @property
    def english_only(self) -> bool:
        """Whether the network was trained on English alone."""
        return not self._model.model.is_multilingual

    def knows(self, language: str) -> bool:
        """Whether the network was trained on this language."""
        if self.english_only:
            return language == "en"
        return self._model.hf_tokenizer.token_to_id(f"<|{language}|>") is not None

    def side_by_side(self, work: Callable[[Sequence[Given]], list[Made]], given: Sequence[Given]) -> list[Made]:
        """Have all that is given worked on, an equal share by each thread, and keep the order.

        `work` calls the network for itself; it never comes back here.
        """
        share = ceil(len(given) / self._at_once)
        shares = [given[at : at + share] for at in range(0, len(given), share)]
        return [made for of_share in self._threads.map(work, shares) for made in of_share]

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """What the decoder reads of each clip."""
        features = [self._features(clip) for clip in clips]
        if self._filled:
            return list(self._encoded(np.stack(features)))
        return [self._encoded(each[np.newaxis])[0] for each in features]

    def detect(self, encoded: Encoded) -> Evidence:
        """How probable each language is."""
        (found,) = self._model.model.detect_language(_view(encoded[np.newaxis]))
        return {token[2:-2]: probability for token, probability in found}

    def write(self, parts: Sequence[Part], hints: Hints) -> list[Written]:
        """The text of each part. Those about as long are written together, which takes two thirds of the time."""
        sounds = [_drawn_out(part.encoded) for part in parts]
        written: dict[int, Written] = {}
        for length in sorted({len(sound) for sound in sounds}):
            alike = [number for number, sound in enumerate(sounds) if len(sound) == length]
            encoded = np.stack([sounds[number] for number in alike])
            together = self._written([parts[number] for number in alike], encoded, hints)
            written |= zip(alike, together, strict=True)
        return [written[number] for number in range(len(parts))]

    def text(self, part: Part, written: Written) -> str:
        """The words as they are read."""
        return str(self._tokenizer(part.language, translate=False).decode(written.tokens))

    def words(self, part: Part, written: Written, *, translate: bool) -> list[Word]:
        """The words with their times in the clip, by the decoder's attention to the sound; it costs a twelfth more."""
        tokenizer = self._tokenizer(part.language, translate=translate)
        frames = 2 * min(ceil(part.clip.seconds * FRAMES_A_SECOND), len(part.encoded))
        encoded = _view(part.encoded[np.newaxis])
        (found,) = self._model.find_alignment(tokenizer, [list(written.tokens)], encoded, frames)
        merge_punctuations(found, _PREPENDED, _APPENDED)
        return [
            Word(
                start=part.start + float(each["start"]),
                end=part.start + max(float(each["end"]), float(each["start"])),
                word=each["word"],
                probability=min(max(float(each["probability"]), 0.0), 1.0),
            )
            for each in found
            if each["word"]
        ]

    def _features(self, clip: Clip) -> Encoded:
        seconds = _LONGEST_S if self._filled else min(max(clip.seconds + _SILENCE_S, _SHORTEST_S), _LONGEST_S)
        frames = 2 * ceil(seconds * FRAMES_A_SECOND)
        features = self._model.feature_extractor(clip.samples)[:, :frames]  # with 30 s of silence behind the sound
        return np.pad(features, ((0, 0), (0, frames - features.shape[1])))

    def _encoded(self, features: Encoded) -> Encoded:
        return np.asarray(self._model.model.encode(_view(features), to_cpu=True))

    def _written(self, parts: Sequence[Part], encoded: Encoded, hints: Hints) -> list[Written]:
        prompts = [self._prompt(part, hints) for part in parts]
        longest = _LONGEST_S if self._filled else max(part.clip.seconds for part in parts)
        tokens = max(map(len, prompts)) + 2 * (_TOKENS_AT_LEAST + ceil(longest * _TOKENS_A_SECOND))
        results = self._model.model.generate(
            _view(encoded),
            prompts,
            beam_size=self._beam,
            max_length=min(tokens, self._model.max_length),  # CTranslate2 writes half as many
            suppress_tokens=self._suppressed,
            no_repeat_ngram_size=_UNBROKEN_LOOP if hints.break_loops else 0,
            return_scores=True,
            return_no_speech_prob=True,
        )
        eot = self._tokenizer("en", translate=False).eot
        return [_result(each.sequences_ids[0], each.scores[0], each.no_speech_prob, eot) for each in results]

    def _prompt(self, part: Part, hints: Hints) -> list[int]:
        """The tokens before the text: terms and the end of the prompt, as many as leave room for the text."""
        tokenizer = self._tokenizer(part.language, translate=hints.translate)
        terms, length = list[str](), 0
        for term in hints.terms:
            length += len(tokenizer.encode(f" {_plain(term)},"))
            if length <= _TOKENS_OF_TERMS:
                terms.append(_plain(term))
        before = tokenizer.encode(" " + _plain(hints.prompt).strip()) if hints.prompt else []
        before = before[-(_TOKENS_BEFORE - min(length, _TOKENS_OF_TERMS)) :]
        hotwords = ", ".join(terms) or None
        return list(self._model.get_prompt(tokenizer, before, without_timestamps=True, hotwords=hotwords))

    def _tokenizer(self, language: str, *, translate: bool) -> Tokenizer:
        key = (language, translate)
        if key not in self._tokenizers:
            task = "translate" if translate else "transcribe"
            multilingual = not self.english_only
            self._tokenizers[key] = Tokenizer(self._model.hf_tokenizer, multilingual, task=task, language=language)
        return self._tokenizers[key]

    @cached_property
    def _suppressed(self) -> list[int]:
        return list(get_suppressed_tokens(self._tokenizer("en", translate=False), [-1]))


def _plain(text: str) -> str:
    """A text without what the tokenizer would take for its own marks, such as <|translate|>."""
    return text.replace("<|", "<").replace("|>", ">")


def _drawn_out(encoded: Encoded) -> Encoded:
    """Have the silence behind short sound last until it is as long as its like, so that they are written together."""
    length = next((length for length in _LENGTHS if length >= len(encoded)), len(encoded))
    silence = encoded[-_DRAWN_OUT:]
    repeated = np.tile(silence, (ceil((length - len(encoded)) / len(silence)), 1))
    return np.concatenate([encoded, repeated])[:length]


def encoded_of(encoded: Encoded, stretch: Piece) -> Encoded:
    """What the encoder has made of a stretch of a clip."""
    return encoded[int(stretch[0] * FRAMES_A_SECOND) : ceil(stretch[1] * FRAMES_A_SECOND)]


def _result(tokens: Sequence[int], score: float, no_speech_prob: float, eot: int) -> Written:
    spoken = [token for token in tokens if token < eot]
    return Written(spoken, score * len(tokens) / (len(tokens) + 1), min(max(no_speech_prob, 0.0), 1.0))


def _view(array: npt.NDArray[np.float32]) -> StorageView:
    return StorageView.from_array(np.ascontiguousarray(array))
