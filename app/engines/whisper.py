"""Whisper models: in which language each part of a clip is spoken, and which text of it is kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, pairwise
from math import sqrt
from operator import itemgetter
from statistics import median

from ctranslate2 import get_cuda_device_count

from app.engines import vocabulary
from app.engines.clips import Clip, cut_in_two, part_of
from app.engines.coverage import LEAST_S, digits, holes, spoken, word_times
from app.engines.languages import Evidence, languages_of
from app.engines.loops import loops, too_fast
from app.engines.models import Weights
from app.engines.sentences import SENTENCE_ENDS, text_of
from app.engines.speech_model import Answer, Text
from app.engines.timeline import Piece
from app.engines.whisper_network import Encoded, Hints, Network, Part, Way, Written, encoded_of
from app.errors import PermanentError
from schemas.errors import ErrorCode
from schemas.transcription import TranscribeOptions, Word
from schemas.wire import Model

_SURE = 0.9  # how probable a language is that needs no second look
_TELLING_S = 1.0  # of speech: of less, nothing sure is told of its language
_NO_SPEECH = 0.6
_DOUBTFUL = -1.0  # mean log probability
_SPREAD = 2  # times its usual length: a word next to a pause that lasts longer takes that in
_LONGEST_USUAL_S = 0.7


@dataclass(frozen=True, slots=True)
class _Heard:
    """A clip, its pieces, and how probable each language is in each of them.

    `encoded`: what the encoder has made of the whole, and of the pieces that were looked at on their own.
    """

    clip: Clip
    pieces: Sequence[Piece]
    evidence: Sequence[Evidence]
    encoded: Mapping[Piece, Encoded]


@dataclass(frozen=True, slots=True)
class _Cut:
    """Pieces of a clip in one language, `start` seconds after its start; `encoded` where that is done."""

    clip: Clip
    start: float
    language: str
    encoded: Encoded | None


class Whisper:
    """A loaded model."""

    def __init__(self, identity: Model, how: str, network: Network) -> None:
        self.identity = identity
        self.how = how
        self._network = network

    def check(self, options: TranscribeOptions) -> None:
        """Refuse a language that the model does not know, and translation where it was not trained to.

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

    def transcribe(self, clips: Sequence[Clip], options: TranscribeOptions, previous: str | None) -> Answer:
        """Transcribe clips that follow each other; `previous`: the language spoken before the first one."""
        heard = self._network.side_by_side(partial(self._heard, options), clips)
        languages, settled = _in_order(heard, previous)
        cuts = [list(_cuts(each, of_clip)) for each, of_clip in zip(heard, languages, strict=True)]
        flat = [cut for of_clip in cuts for cut in of_clip]
        texts = iter(self._network.side_by_side(partial(self._texts, options), flat))
        found = [[text for _ in of_clip for text in next(texts)] for of_clip in cuts]
        return Answer(found, languages[-1][-1], settled)

    def _heard(self, options: TranscribeOptions, clips: Sequence[Clip]) -> list[_Heard]:
        encoded = zip(clips, self._network.encode(clips), strict=True)
        known = options.language or ("en" if self._network.english_only else None)
        if known is None:
            return [self._languages(clip, whole) for clip, whole in encoded]
        return [_Heard(clip, [_whole(clip)], [{known: 1.0}], {_whole(clip): whole}) for clip, whole in encoded]

    def _languages(self, clip: Clip, whole: Encoded) -> _Heard:
        """How probable each language is in each piece of a clip.

        They are judged by what the encoder has made of them within the clip, which costs little; those that are unsure
        and next to what seems to be a change of language once more on their own.
        """
        encoded = {_whole(clip): whole}
        pieces = list(clip.speech) or [_whole(clip)]
        if len(pieces) == 1:
            return _Heard(clip, pieces, [self._network.detect(whole)], encoded)
        evidence = [self._network.detect(encoded_of(whole, piece)) for piece in pieces]
        for number in _doubtful(pieces, evidence):
            (alone,) = self._network.encode([part_of(clip, *pieces[number])])
            encoded[pieces[number]] = alone
            evidence[number] = _both(evidence[number], self._network.detect(alone))
        return _Heard(clip, pieces, evidence, encoded)

    def _texts(self, options: TranscribeOptions, cuts: Sequence[_Cut]) -> list[list[Text]]:
        parts = [self._part(each) for each in cuts]
        written = self._network.write(parts, Hints(prompt=options.prompt, translate=options.translate))
        return [self._text(part, each, options) for part, each in zip(parts, written, strict=True)]

    def _part(self, cut: _Cut) -> Part:
        encoded = self._network.encode([cut.clip])[0] if cut.encoded is None else cut.encoded
        return Part(cut.clip, cut.start, cut.language, encoded)

    def _text(self, part: Part, written: Written, options: TranscribeOptions) -> list[Text]:
        """The text that is kept of a part. Terms are told only where one may be said."""
        hints = Hints(prompt=options.prompt, translate=options.translate)
        plain = self._spoken(part, written, hints)
        hints = replace(hints, terms=vocabulary.likely(options.vocabulary, _joined(plain)))
        if not hints.terms:
            return plain
        (anew,) = self._network.write([part], hints)
        told = self._spoken(part, anew, hints)
        return told if vocabulary.improves(_joined(plain), _joined(told), hints.terms) else plain

    def _spoken(self, part: Part, written: Written, hints: Hints) -> list[Text]:
        """What is said in a part, without loops where that loses nothing, and without what nobody can have said."""
        if self._silent(part, written):
            return []
        text = self._timed(part, written, hints)
        if not _looping([text], part):
            return [text]
        again = [text for half in self._halves(part) for text in self._unlooped(half, hints)]
        if _looping(again, part):
            again = [replace(text, words=[])]
        possible = not too_fast([word.word for word in text.words], part.clip.seconds)
        lost = _unheard(again, part) - _unheard([text], part)
        return [text] if possible and lost > LEAST_S else again

    def _halves(self, part: Part) -> list[Part]:
        """A part cut in its widest silence: less sound leads into loops less often."""
        halves = cut_in_two(part.clip)
        encoded = [self._network.encode([clip])[0] for _, clip in halves]
        return [
            Part(clip, part.start + start, part.language, whole)
            for (start, clip), whole in zip(halves, encoded, strict=True)
        ]

    def _unlooped(self, part: Part, hints: Hints) -> Iterator[Text]:
        (written,) = self._network.write([part], hints)
        if self._silent(part, written):
            return
        text = self._timed(part, written, hints)
        if _looping([text], part):
            (anew,) = self._network.write([part], replace(hints, break_loops=True))
            text = self._timed(part, anew, hints)
        yield text

    def _silent(self, part: Part, written: Written) -> bool:
        doubtful = written.avg_logprob < _DOUBTFUL or not _has_letters(self._network.text(part, written))
        return written.no_speech_prob > _NO_SPEECH and doubtful

    def _timed(self, part: Part, written: Written, hints: Hints) -> Text:
        text, words = self._network.text(part, written), list[Word]()
        if _has_letters(text):
            words = _tightened(self._network.words(part, written, translate=hints.translate))
            words = words or [Word(start=part.start, end=part.start + part.clip.seconds, word=text, probability=0.0)]
        return Text(words, part.language, written.avg_logprob, written.no_speech_prob)


def load(weights: Weights, way: Way) -> Whisper:
    """Load a model; `way.device` may be auto, and `way.compute_type` empty for what suits the device.

    Raises:
        PermanentError: unknown_model, where its files are damaged or of another kind, or the device does not do.
    """
    device = way.device
    if device == "auto":
        device = "cuda" if get_cuda_device_count() else "cpu"
    compute_type = way.compute_type or ("float16" if device == "cuda" else "int8")
    at_once = 1 if device == "cuda" else way.at_once
    way = replace(way, device=device, compute_type=compute_type, at_once=at_once)
    try:
        network = Network(str(weights.folder), way, filled=device == "cuda")
    except (RuntimeError, ValueError, OSError) as error:
        message = (
            f"The model {weights.identity.name!r} cannot be loaded: its files are damaged or of another kind, "
            "or ENGINE_DEVICE and ENGINE_COMPUTE_TYPE do not suit this machine."
        )
        raise PermanentError(ErrorCode.UNKNOWN_MODEL, message) from error
    return Whisper(weights.identity, f"{device} {compute_type} beam {way.beam}", network)


def _in_order(heard: Sequence[_Heard], previous: str | None) -> tuple[list[list[str]], bool]:
    """The languages of each clip, each with regard to the clip before it, and whether `previous` matters not."""
    found: list[list[str]] = []
    settled = True
    for clip in heard:
        parts = [(end - start, each) for (start, end), each in zip(clip.pieces, clip.evidence, strict=True)]
        languages, sure = languages_of(parts, found[-1][-1] if found else previous)
        settled = sure if not found else settled
        found.append(languages)
    return found, settled


def _cuts(heard: _Heard, languages: Sequence[str]) -> Iterator[_Cut]:
    """Cut a clip where the language changes."""
    clip, several = heard.clip, len(set(languages)) > 1
    for language, of_cut in groupby(zip(heard.pieces, languages, strict=True), key=itemgetter(1)):
        pieces = [piece for piece, _ in of_cut]
        start, end = cut = (pieces[0][0], pieces[-1][1]) if several else _whole(clip)
        yield _Cut(part_of(clip, start, end), start, language, heard.encoded.get(cut))


def _whole(clip: Clip) -> Piece:
    return 0.0, clip.seconds


def _doubtful(stretches: Sequence[Piece], found: Sequence[Evidence]) -> list[int]:
    """Which pieces seem to be in another language than a neighbour, but those that are sure or too short to tell."""
    telling = [number for number, (start, end) in enumerate(stretches) if end - start >= _TELLING_S]
    best = {number: max(found[number], key=lambda language: found[number][language]) for number in telling}
    changes = [(one, other) for one, other in pairwise(telling) if best[one] != best[other]]
    return sorted({number for change in changes for number in change if found[number][best[number]] < _SURE})


def _both(one: Evidence, other: Evidence) -> Evidence:
    """The geometric mean: what is told by both counts, what one rules out does not."""
    return {language: sqrt(one[language] * other.get(language, 0.0)) for language in one}


def _has_letters(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _looping(texts: Sequence[Text], part: Part) -> bool:
    return loops([word.word for text in texts for word in text.words], part.clip.seconds)


def _joined(texts: Sequence[Text]) -> str:
    return text_of(word for text in texts for word in text.words)


def _unheard(texts: Sequence[Text], part: Part) -> float:
    """Seconds of a part's speech that the texts have no words for."""
    times = word_times((word for text in texts for word in text.words), part.start)
    return sum(spoken(part.clip.speech, *hole) for hole in holes(times, part.clip.speech, part.clip.seconds))


def _tightened(words: Sequence[Word]) -> list[Word]:
    """Shorten words at the edges of sentences that take in the pause there: what is too long is cut off.

    Too long is twice what words usually last in this text, as faster-whisper has it; a number lasts as many words as it
    has digits.
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
