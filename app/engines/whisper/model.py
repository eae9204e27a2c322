"""Whisper models: find the language of each part of a clip, decode its text, and choose which text to keep."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby, islice, pairwise
from math import sqrt
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import TypeVar

from ctranslate2 import get_cuda_device_count, get_supported_compute_types
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import TranscribeOptions, Word
from natscribe.schemas.wire import Model

from app.engines.audio.clips import Clip, cut_in_two, part_of
from app.engines.audio.timeline import Piece
from app.engines.family import Computing, check_precision
from app.engines.parallel import Parallel, in_groups
from app.engines.speech_model import Answer, Text
from app.engines.text import vocabulary
from app.engines.text.coverage import LEAST_S, digits, holes, spoken, word_times
from app.engines.text.languages import Evidence, languages_of
from app.engines.text.loops import loops, too_fast
from app.engines.text.sentences import SENTENCE_ENDS, text_of
from app.engines.whisper.network import Decoded, Encoded, Hints, Network, Part, encoded_part
from app.errors import PermanentError

Item = TypeVar("Item")

_SURE = 0.9  # a language with at least this probability is not detected a second time
_TELLING_S = 1.0  # the language of a shorter piece of speech cannot be detected reliably
_NO_SPEECH = 0.6  # a doubtful text is dropped if the probability that its clip has no speech is higher
_DOUBTFUL = -1.0  # a text with a lower mean log probability is doubtful
_SPREAD = 2  # a word that is more than this many times as long as usual includes the pause next to the word
_LONGEST_USUAL_S = 0.7  # upper limit of the usual length of a word


@dataclass(frozen=True, slots=True)
class _Detected:
    """A clip, its pieces, and how probable each language is in each piece.

    `encoded`: the encoder's output for the whole clip, and for each piece that was encoded on its own.
    """

    clip: Clip
    pieces: Sequence[Piece]
    evidence: Sequence[Evidence]
    encoded: Mapping[Piece, Encoded]


@dataclass(frozen=True, slots=True)
class _Cut:
    """Consecutive pieces of a clip in one language, from second `start` of the clip on.

    `encoded`: the encoder's output for these pieces, null if they were not encoded on their own yet.
    """

    clip: Clip
    start: float
    language: str
    encoded: Encoded | None


@dataclass(frozen=True, slots=True)
class _CutClip:
    """A clip, cut where the language changes; `settled` if that does not depend on the language before the clip."""

    cuts: Sequence[_Cut]
    settled: bool


class Whisper:
    """A loaded Whisper model."""

    def __init__(self, identity: Model, how: str, network: Network, parallel: Parallel) -> None:
        self.identity = identity
        self.how = how
        self.parallel = parallel
        self._network = network

    def check(self, options: TranscribeOptions) -> None:
        """Refuse a language that the model does not know, and translation by a model that only knows English.

        Raises:
            PermanentError: invalid_message.
        """
        name, language = self.identity.name, options.language
        if language is not None and not self._network.knows(language):
            message = f"The model {name!r} does not know the language {language!r}: name another one."
            raise PermanentError(ErrorCode.INVALID_MESSAGE, message)
        if options.translate and self._network.english_only:
            message = f"The model {name!r} knows English alone and cannot translate: leave `translate` out."
            raise PermanentError(ErrorCode.INVALID_MESSAGE, message)

    def transcribe(
        self, clips: Sequence[Clip], options: TranscribeOptions, previous: Sequence[str | None], *, draft: bool = False
    ) -> list[Answer]:
        """Transcribe clips; `previous` is the language spoken before each of them.

        A draft is decoded once, without several candidates and without the vocabulary; if it loops, it has no words.

        On several threads decoding begins while the last clips are still encoded. Clips that are filled up to one
        length are encoded in batches, too.
        """
        hints = Hints(prompt=options.prompt, translate=options.translate, draft=draft)
        sizes = in_groups([clip.seconds for clip in clips], self.parallel.count)
        batches = _sliced(clips, sizes if self._network.filled else [1] * len(clips))
        detected = chain.from_iterable(self.parallel.map(partial(self._detect, options), batches))
        groups = _sliced(map(_in_languages, detected, previous), sizes)
        done = chain.from_iterable(self.parallel.map(partial(self._decoded, options.vocabulary, hints), groups))
        return [Answer(texts, clip.cuts[-1].language, clip.settled) for clip, texts in done]

    def _detect(self, options: TranscribeOptions, clips: Sequence[Clip]) -> list[_Detected]:
        encoded = zip(clips, self._network.encode(clips), strict=True)
        known = options.language or ("en" if self._network.english_only else None)
        if known is None:
            return [self._languages(clip, whole) for clip, whole in encoded]
        return [_Detected(clip, [_whole(clip)], [{known: 1.0}], {_whole(clip): whole}) for clip, whole in encoded]

    def _languages(self, clip: Clip, whole: Encoded) -> _Detected:
        """Detect how probable each language is in each piece of a clip.

        A piece is first judged by its part of the clip's encoding, which costs little. A piece with an uncertain
        result next to a change of language is then encoded on its own and judged again.
        """
        encoded = {_whole(clip): whole}
        pieces = list(clip.speech) or [_whole(clip)]
        if len(pieces) == 1:
            return _Detected(clip, pieces, [self._network.detect(whole)], encoded)
        evidence = [self._network.detect(encoded_part(whole, piece)) for piece in pieces]
        for number in _doubtful(pieces, evidence):
            (alone,) = self._network.encode([part_of(clip, *pieces[number])])
            encoded[pieces[number]] = alone
            evidence[number] = _both(evidence[number], self._network.detect(alone))
        return _Detected(clip, pieces, evidence, encoded)

    def _decoded(
        self, terms: Sequence[str], hints: Hints, clips: Sequence[_CutClip]
    ) -> list[tuple[_CutClip, list[Text]]]:
        """Decode the texts of a group of clips in one batch."""
        parts = [self._part(cut) for clip in clips for cut in clip.cuts]
        texts = (
            self._draft(part, each, hints) if hints.draft else self._text(part, each, hints, terms)
            for part, each in zip(parts, self._network.decode(parts, hints), strict=True)
        )
        return [(clip, list(chain.from_iterable(islice(texts, len(clip.cuts))))) for clip in clips]

    def _part(self, cut: _Cut) -> Part:
        encoded = self._network.encode([cut.clip])[0] if cut.encoded is None else cut.encoded
        return Part(cut.clip, cut.start, cut.language, encoded)

    def _draft(self, part: Part, decoded: Decoded, hints: Hints) -> list[Text]:
        if self._silent(part, decoded):
            return []
        text = self._timed(part, decoded, hints)
        return [replace(text, words=[]) if _looping([text], part) else text]

    def _text(self, part: Part, decoded: Decoded, hints: Hints, terms: Sequence[str]) -> list[Text]:
        """Return the texts of a part; decode again with the terms that may occur in it, and keep the better texts."""
        plain = self._best(part, decoded, hints)
        hints = replace(hints, terms=vocabulary.likely(terms, _joined(plain)))
        if not hints.terms:
            return plain
        (again,) = self._network.decode([part], hints)
        with_terms = self._best(part, again, hints)
        return with_terms if vocabulary.improves(_joined(plain), _joined(with_terms), hints.terms) else plain

    def _best(self, part: Part, decoded: Decoded, hints: Hints) -> list[Text]:
        """Return the texts of a part; if the text loops, decode the part again in halves.

        The looping text is kept only if it is not too fast for speech and the halves leave more speech without words.
        If the halves loop too, their words are dropped.
        """
        if self._silent(part, decoded):
            return []
        text = self._timed(part, decoded, hints)
        if not _looping([text], part):
            return [text]
        again = [text for half in self._halves(part) for text in self._unlooped(half, hints)]
        if _looping(again, part):
            again = [replace(text, words=[])]
        possible = not too_fast([word.word for word in text.words], part.clip.seconds)
        lost = _seconds_without_words(again, part) - _seconds_without_words([text], part)
        return [text] if possible and lost > LEAST_S else again

    def _halves(self, part: Part) -> list[Part]:
        """Cut a part in its widest silence and encode both halves: models loop less often on shorter sound."""
        halves = cut_in_two(part.clip)
        encoded = [self._network.encode([clip])[0] for _, clip in halves]
        return [
            Part(clip, part.start + start, part.language, whole)
            for (start, clip), whole in zip(halves, encoded, strict=True)
        ]

    def _unlooped(self, part: Part, hints: Hints) -> Iterator[Text]:
        (decoded,) = self._network.decode([part], hints)
        if self._silent(part, decoded):
            return
        text = self._timed(part, decoded, hints)
        if _looping([text], part):
            (again,) = self._network.decode([part], replace(hints, break_loops=True))
            text = self._timed(part, again, hints)
        yield text

    def _silent(self, part: Part, decoded: Decoded) -> bool:
        doubtful = decoded.avg_logprob < _DOUBTFUL or not _has_letters(self._network.text(part, decoded))
        return decoded.no_speech_prob > _NO_SPEECH and doubtful

    def _timed(self, part: Part, decoded: Decoded, hints: Hints) -> Text:
        text, words = self._network.text(part, decoded), list[Word]()
        if _has_letters(text):
            words = _tightened(self._network.words(part, decoded, translate=hints.translate))
            words = words or [Word(start=part.start, end=part.start + part.clip.seconds, word=text, probability=0.0)]
        return Text(words, part.language, decoded.avg_logprob, decoded.no_speech_prob)


def load(folder: Path, identity: Model, computing: Computing) -> Whisper:
    """Load a Whisper model from its folder.

    Raises:
        PermanentError: unknown_model: the files are damaged or of another kind, the device cannot be used, or cannot
            compute with this precision.
    """
    device, has_gpu = computing.device, get_cuda_device_count() > 0
    if device == "auto":
        device = "cuda" if has_gpu else "cpu"
    compute_type = computing.compute_type or ("float16" if device == "cuda" else "int8")
    at_once = 1 if device == "cuda" else computing.at_once
    try:
        if device == "cpu" or has_gpu:  # else the device is wrong, not the precision
            check_precision(identity.name, compute_type, get_supported_compute_types(device))
        computing = replace(computing, device=device, compute_type=compute_type, at_once=at_once)
        network = Network(str(folder), computing, filled=device == "cuda")
    except (RuntimeError, ValueError, OSError) as error:
        message = (
            f"The model {identity.name!r} cannot be loaded: its files are damaged or of another kind, "
            "or ENGINE_DEVICE does not suit this machine."
        )
        raise PermanentError(ErrorCode.UNKNOWN_MODEL, message) from error
    how = f"{device} {compute_type} beam {computing.beam}"
    return Whisper(identity, how, network, Parallel(at_once))


def _sliced(items: Iterable[Item], sizes: Iterable[int]) -> Iterator[list[Item]]:
    """Yield consecutive items in lists of these sizes; no item is taken before its list is wanted."""
    remaining = iter(items)
    return (list(islice(remaining, size)) for size in sizes)


def _in_languages(detected: _Detected, previous: str | None) -> _CutClip:
    """Choose the language of each piece of a clip, given the language before the clip, and cut where it changes."""
    parts = [(end - start, each) for (start, end), each in zip(detected.pieces, detected.evidence, strict=True)]
    languages, settled = languages_of(parts, previous)
    return _CutClip(list(_cuts(detected, languages)), settled)


def _cuts(detected: _Detected, languages: Sequence[str]) -> Iterator[_Cut]:
    """Cut a clip where the language changes."""
    clip, several = detected.clip, len(set(languages)) > 1
    for language, of_cut in groupby(zip(detected.pieces, languages, strict=True), key=itemgetter(1)):
        pieces = [piece for piece, _ in of_cut]
        start, end = cut = (pieces[0][0], pieces[-1][1]) if several else _whole(clip)
        yield _Cut(part_of(clip, start, end), start, language, detected.encoded.get(cut))


def _whole(clip: Clip) -> Piece:
    return 0.0, clip.seconds


def _doubtful(pieces: Sequence[Piece], found: Sequence[Evidence]) -> list[int]:
    """Find the pieces (by number) that are long enough to judge, uncertain, and next to a piece in another language."""
    telling = [number for number, (start, end) in enumerate(pieces) if end - start >= _TELLING_S]
    best = {number: max(found[number], key=lambda language: found[number][language]) for number in telling}
    changes = [(one, other) for one, other in pairwise(telling) if best[one] != best[other]]
    return sorted({number for change in changes for number in change if found[number][best[number]] < _SURE})


def _both(one: Evidence, other: Evidence) -> Evidence:
    """Return the geometric mean of two detections: a language with probability 0 in one of them keeps probability 0."""
    return {language: sqrt(one[language] * other.get(language, 0.0)) for language in one}


def _has_letters(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _looping(texts: Sequence[Text], part: Part) -> bool:
    return loops([word.word for text in texts for word in text.words], part.clip.seconds)


def _joined(texts: Sequence[Text]) -> str:
    return text_of(word for text in texts for word in text.words)


def _seconds_without_words(texts: Sequence[Text], part: Part) -> float:
    """Count the seconds of speech in a part for which the texts have no words."""
    times = word_times((word for text in texts for word in text.words), part.clip.speech, part.start)
    return sum(spoken(part.clip.speech, *hole) for hole in holes(times, part.clip.speech, part.clip.seconds))


def _tightened(words: Sequence[Word]) -> list[Word]:
    """Shorten the first and last words of sentences if their times include the pause before or after the sentence.

    As in faster-whisper, the times of a word include a pause if the word lasts more than twice as long as the median
    word of the text; for a number this limit is multiplied by its digits.
    """
    usual = _SPREAD * min(median([word.end - word.start for word in words] or [0.0]), _LONGEST_USUAL_S)
    found: list[Word] = []
    for number, word in enumerate(words):
        changed, longest = {}, usual * max(1, digits(word))
        if word.end - word.start > longest > 0:
            if word.word.rstrip().endswith(SENTENCE_ENDS):
                changed = {"end": word.start + longest}
            elif not number or words[number - 1].word.rstrip().endswith(SENTENCE_ENDS):
                changed = {"start": word.end - longest}
        found.append(word.model_copy(update=changed))
    return found
