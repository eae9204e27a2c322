"""Whisper models as this program uses them: the one place that faster-whisper's untyped objects pass through."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
import numpy.typing as npt
from ctranslate2 import StorageView, get_cuda_device_count
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens, merge_punctuations

from app.engines import vocabulary
from app.engines.clips import Clip, part_of
from app.engines.coverage import LEAST_S, holes, spoken
from app.engines.languages import Evidence, languages_of
from app.engines.loops import loops
from app.engines.models import Weights
from app.engines.sentences import text_of
from app.engines.speech_model import Answer, Text
from app.engines.timeline import Piece
from handlers.errors import PermanentError
from schemas.errors import ErrorCode
from schemas.transcription import TranscribeOptions, Word
from schemas.wire import Model

Encoded = npt.NDArray[np.float32]  # (1, frames, width)

_FRAMES_A_SECOND = 50  # of what the encoder has made of sound; its own input has twice as many
_LONGEST_S = 30.0
_SHORTEST_S = 10.0  # of silence and sound together: with less, languages and short words are mistaken
_SILENCE_S = 1.0  # kept behind the sound, so that its end is heard
_PART_S = 3.0  # of speech, at least, whose language is judged on its own
_NO_SPEECH = 0.6
_DOUBTFUL = -1.0  # mean log probability
_UNBROKEN_LOOP = 3  # words; a sequence that long is not said again when a text is written anew
_TOKENS_A_SECOND, _TOKENS_AT_LEAST = 25, 40  # people speak no faster; a loop would go on to the model's limit
_PREPENDED = "\"'“¿([{-«"
_APPENDED = "\"'.。,，!！?？:：”)]}、»"  # noqa: RUF001 -- other scripts have marks of their own
_SPREAD = 2  # times its usual length: a word that lasts longer next to a pause takes that in


@dataclass(frozen=True, slots=True)
class Way:
    """How a model computes: on which device, how exactly, how many windows at once, each with how many threads."""

    device: str = "cpu"
    compute_type: str | None = None
    threads: int = 1
    at_once: int = 1
    beam: int = 5


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a clip in one language, and what the encoder has made of it; `start` in seconds of the clip."""

    clip: Clip
    start: float
    language: str
    encoded: Encoded


@dataclass(frozen=True, slots=True)
class _Written:
    """A text as the decoder wrote it."""

    tokens: list[int]
    avg_logprob: float
    no_speech_prob: float


class Whisper:
    """A loaded model."""

    def __init__(self, identity: Model, way: Way, device: str, model: WhisperModel) -> None:
        """`device` is what `way` has come to on this machine."""
        self.identity = identity
        self.how = f"{device} {model.model.compute_type} beam {way.beam}"
        self._model = model
        self._beam = way.beam
        self._full = device == "cuda"  # where a whole window costs little, as it was trained
        self._threads = ThreadPoolExecutor(way.at_once, thread_name_prefix="windows")
        self._tokenizers: dict[tuple[str, bool], Tokenizer] = {}

    def check(self, options: TranscribeOptions) -> None:
        """Refuse a language that the model does not know, and translation where it was not trained to.

        Raises:
            PermanentError: invalid_message.
        """
        name, language = self.identity.name, options.language
        if language is not None and not self._knows(language):
            message = f"The model {name!r} does not know the language {language!r}: name another one."
            raise PermanentError(ErrorCode.INVALID_MESSAGE, message)
        if options.translate and self._english_only:
            message = f"The model {name!r} knows English alone and cannot translate: leave `translate` out."
            raise PermanentError(ErrorCode.INVALID_MESSAGE, message)

    def transcribe(self, clips: Sequence[Clip], options: TranscribeOptions, previous: str | None) -> Answer:
        """Transcribe clips that follow each other, several at once; `previous`: the language before the first one."""
        encoded = list(self._threads.map(self._encode, clips))
        parts: list[list[_Part]] = []
        settled = True
        language = options.language or "en"
        if options.language is None and not self._english_only:
            evidence = list(self._threads.map(self._evidence, clips, encoded))
            for clip, whole, (pieces, probable) in zip(clips, encoded, evidence, strict=True):
                spoken, sure = languages_of(probable, previous)
                settled = sure if not parts else settled
                language = previous = spoken[-1]
                parts.append(list(self._parts(clip, whole, pieces, spoken)))
        else:
            parts = [[_Part(clip, 0.0, language, whole)] for clip, whole in zip(clips, encoded, strict=True)]
        texts = self._threads.map(lambda of_clip: [self._text(part, options) for part in of_clip], parts)
        return Answer([[text for text in of_clip if text is not None] for of_clip in texts], language, settled)

    def _knows(self, language: str) -> bool:
        if self._english_only:
            return language == "en"
        return self._model.hf_tokenizer.token_to_id(f"<|{language}|>") is not None

    @cached_property
    def _english_only(self) -> bool:
        return not self._model.model.is_multilingual

    def _encode(self, clip: Clip) -> Encoded:
        """Encode a clip with a little silence behind it, and no more: the time this takes grows with the square."""
        seconds = _LONGEST_S if self._full else min(max(clip.seconds + _SILENCE_S, _SHORTEST_S), _LONGEST_S)
        frames = 2 * ceil(seconds * _FRAMES_A_SECOND)
        features = self._model.feature_extractor(clip.samples)[:, :frames]  # with 30 s of silence behind the sound
        missing = frames - features.shape[1]
        if missing > 0:
            features = np.pad(features, ((0, 0), (0, missing)))
        return np.asarray(self._model.model.encode(_view(features[np.newaxis]), to_cpu=True))

    def _evidence(self, clip: Clip, encoded: Encoded) -> tuple[list[Piece], list[Evidence]]:
        """Stretches of a clip, and how probable each language is in each.

        They are judged by what the encoder has made of them within the clip, which costs little; those next to what
        seems to be a change of language once more on their own.
        """
        stretches = _stretches(clip)
        if len(stretches) == 1:
            return stretches, [self._detect(encoded)]
        found = [self._detect(_cut(encoded, start, end)) for start, end in stretches]
        for number in _doubtful(found):
            alone = self._detect(self._encode(part_of(clip, *stretches[number])))
            found[number] = _mean(found[number], alone)
        return stretches, found

    def _detect(self, encoded: Encoded) -> Evidence:
        (found,) = self._model.model.detect_language(_view(encoded))
        return {token[2:-2]: probability for token, probability in found}

    def _parts(
        self, clip: Clip, encoded: Encoded, stretches: Sequence[Piece], spoken: Sequence[str]
    ) -> Iterator[_Part]:
        """Cut a clip where the language changes; each part of several is encoded on its own."""
        if len(set(spoken)) == 1:
            yield _Part(clip, 0.0, spoken[0], encoded)
            return
        first = 0
        for number in range(1, len(spoken) + 1):
            if number == len(spoken) or spoken[number] != spoken[first]:
                start, end = stretches[first][0], stretches[number - 1][1]
                part = part_of(clip, start, end)
                yield _Part(part, start, spoken[first], self._encode(part))
                first = number

    def _text(self, part: _Part, options: TranscribeOptions) -> Text | None:
        """Write what is said in a part; null: nothing."""
        plain = self._spoken(part, options)
        if plain is None or not options.vocabulary:
            return plain
        text = text_of(plain.words)
        terms = vocabulary.likely(options.vocabulary, text)
        told = self._spoken(part, options, terms) if terms else None
        if told is not None and vocabulary.improves(text, text_of(told.words), terms):
            return told
        return plain

    def _spoken(self, part: _Part, options: TranscribeOptions, terms: Sequence[str] = ()) -> Text | None:
        written = self._write(part, options, terms)
        if self._nothing_said(written, part):
            return None
        text = self._timed(part, written, options)
        if not loops([word.word for word in text.words]):
            return text
        again = self._timed(part, self._write(part, options, terms, break_loops=True), options)
        return again if _better(again, text, part.clip, part.start) else text

    def _write(
        self, part: _Part, options: TranscribeOptions, terms: Sequence[str], *, break_loops: bool = False
    ) -> _Written:
        tokenizer = self._tokenizer(part.language, translate=options.translate)
        before = tokenizer.encode(" " + options.prompt.strip()) if options.prompt else []
        prompt = self._model.get_prompt(
            tokenizer, before, without_timestamps=True, hotwords=", ".join(terms) if terms else None
        )
        most = len(prompt) + _TOKENS_AT_LEAST + ceil(part.clip.seconds * _TOKENS_A_SECOND)
        (result,) = self._model.model.generate(
            _view(part.encoded),
            [prompt],
            beam_size=self._beam,
            max_length=min(most, self._model.max_length),
            suppress_tokens=self._suppressed,
            no_repeat_ngram_size=_UNBROKEN_LOOP if break_loops else 0,
            return_scores=True,
            return_no_speech_prob=True,
        )
        tokens = [token for token in result.sequences_ids[0] if token < tokenizer.eot]
        return _Written(tokens, result.scores[0] * len(tokens) / (len(tokens) + 1), result.no_speech_prob)

    def _nothing_said(self, written: _Written, part: _Part) -> bool:
        silent = written.no_speech_prob > _NO_SPEECH and written.avg_logprob < _DOUBTFUL
        text = self._tokenizer(part.language, translate=False).decode(written.tokens)
        return silent or not any(character.isalnum() for character in text)

    def _timed(self, part: _Part, written: _Written, options: TranscribeOptions) -> Text:
        """A text with the time of each word, by the decoder's attention to the sound; it costs a twelfth more."""
        tokenizer = self._tokenizer(part.language, translate=options.translate)
        frames = 2 * min(ceil(part.clip.seconds * _FRAMES_A_SECOND), part.encoded.shape[1])
        (found,) = self._model.find_alignment(tokenizer, [written.tokens], _view(part.encoded), frames)
        merge_punctuations(found, _PREPENDED, _APPENDED)
        words = [
            Word(
                start=part.start + float(each["start"]),
                end=part.start + max(float(each["end"]), float(each["start"])),
                word=each["word"],
                probability=min(max(float(each["probability"]), 0.0), 1.0),
            )
            for each in found
            if each["word"]
        ]
        return Text(
            words=_tightened(words) or [_unplaced(part, tokenizer.decode(written.tokens))],
            language=part.language,
            avg_logprob=written.avg_logprob,
            no_speech_prob=min(max(written.no_speech_prob, 0.0), 1.0),
        )

    def _tokenizer(self, language: str, *, translate: bool) -> Tokenizer:
        key = (language, translate)
        if key not in self._tokenizers:
            task = "translate" if translate else "transcribe"
            multilingual = not self._english_only
            self._tokenizers[key] = Tokenizer(self._model.hf_tokenizer, multilingual, task=task, language=language)
        return self._tokenizers[key]

    @cached_property
    def _suppressed(self) -> list[int]:
        return list(get_suppressed_tokens(self._tokenizer("en", translate=False), [-1]))


def load(weights: Weights, way: Way) -> Whisper:
    """Load a model.

    Raises:
        PermanentError: unknown_model, where its files are damaged or of another kind, or the device does not do.
    """
    device = way.device
    if device == "auto":
        device = "cuda" if get_cuda_device_count() else "cpu"
    try:
        model = WhisperModel(
            str(weights.folder),
            device=device,
            compute_type=way.compute_type or ("float16" if device == "cuda" else "int8"),
            cpu_threads=way.threads,
            num_workers=way.at_once,
            local_files_only=True,
        )
    except (RuntimeError, ValueError, OSError) as error:
        message = (
            f"The model {weights.identity.name!r} cannot be loaded: its files are damaged or of another kind, "
            "or ENGINE_DEVICE and ENGINE_COMPUTE_TYPE do not suit this machine."
        )
        raise PermanentError(ErrorCode.UNKNOWN_MODEL, message) from error
    return Whisper(weights.identity, way, device, model)


def _better(again: Text, looping: Text, clip: Clip, start: float) -> bool:
    """Whether a text written anew is free of loops, and leaves at most a second more of the speech without words."""
    if loops([word.word for word in again.words]):
        return False
    return _unheard(again, clip, start) <= _unheard(looping, clip, start) + LEAST_S


def _unheard(text: Text, clip: Clip, start: float) -> float:
    words = [word.model_copy(update={"start": word.start - start, "end": word.end - start}) for word in text.words]
    return sum(spoken(clip.speech, *hole) for hole in holes(words, clip.speech, clip.seconds))


def _view(array: npt.NDArray[np.float32]) -> StorageView:
    return StorageView.from_array(np.ascontiguousarray(array))


def _cut(encoded: Encoded, start: float, end: float) -> Encoded:
    return encoded[:, int(start * _FRAMES_A_SECOND) : ceil(end * _FRAMES_A_SECOND)]


def _stretches(clip: Clip) -> list[Piece]:
    """The pieces of a clip, joined where they are short, so that each is long enough to tell its language."""
    joined: list[Piece] = []
    for start, end in clip.speech or [(0.0, clip.seconds)]:
        if joined and joined[-1][1] - joined[-1][0] < _PART_S:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    if len(joined) > 1 and joined[-1][1] - joined[-1][0] < _PART_S:
        _, end = joined.pop()
        joined[-1] = (joined[-1][0], end)
    return joined


def _doubtful(found: Sequence[Evidence]) -> list[int]:
    """Which stretches seem to be in another language than a neighbour."""
    best = [max(each, key=lambda language: each[language]) for each in found]
    return [number for number, language in enumerate(best) if {language} != set(best[max(number - 1, 0) : number + 2])]


def _mean(one: Evidence, other: Evidence) -> Evidence:
    return {language: (one[language] + other.get(language, 0.0)) / 2 for language in one}


def _tightened(words: Sequence[Word]) -> list[Word]:
    """Shorten words that take in a pause: each that lasts more than twice as long as words usually do here."""
    lengths = [word.end - word.start for word in words if word.end > word.start]
    longest = _SPREAD * min(float(np.median(lengths)), 0.7) if lengths else 0.0
    found: list[Word] = []
    for word in words:
        long = word.end - word.start > longest
        after_pause = long and (not found or found[-1].word.strip().endswith((".", "?", "!", "…")))
        if after_pause:
            found.append(word.model_copy(update={"start": word.end - longest}))
        elif long and word.word.strip().endswith((".", "?", "!", "…")):
            found.append(word.model_copy(update={"end": word.start + longest}))
        else:
            found.append(word)
    return found


def _unplaced(part: _Part, text: str) -> Word:
    return Word(start=part.start, end=part.start + part.clip.seconds, word=text, probability=0.0)
