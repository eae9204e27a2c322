"""The filters through which all text passes before it is cached, published or stored.

The window queue passes on no text of the engine without them: neither that of recordings and live tasks, translated or
not, nor partial results, nor windows of other workers. A filter returns the segments of a window in another form, as
the options of the task say, which are part of the key of the cache. Later the words of a segment may be split among
speakers, so a filter that changes its text changes its words as well. Redaction follows (app/speech/redaction.py): it
needs the text of several windows. Cached and shared texts are those of the same
version: what a filter takes from settings belongs into the key of the cache (speech/recordings/cache.py) and the hash
of the engine (speech/window_sharing/sharing.py).
"""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Final

from natscribe.schemas.transcription import Numbers, Segment, TranscribeOptions

from app.engines.text.numbers.digits import in_digits
from app.engines.text.replacing import replaced, spoken_text
from app.engines.windows import WindowText


def with_letters(segments: Iterable[Segment], _options: TranscribeOptions) -> list[Segment]:
    """Leave out segments without a letter or a digit: a mark alone, such as a dash."""
    return [segment for segment in segments if any(map(str.isalnum, segment.text))]


def in_order(segments: Iterable[Segment], _options: TranscribeOptions) -> list[Segment]:
    """Sort segments by their starts: the model has written the text of gaps last."""
    return sorted(segments, key=attrgetter("start"))


def numbers_in_digits(segments: Iterable[Segment], options: TranscribeOptions) -> list[Segment]:
    """Write the numbers of each segment in digits, if the task wants them so."""
    if options.numbers is not Numbers.DIGITS:
        return list(segments)
    return [replaced(part, in_digits(spoken_text(part), _written_language(part, options))) for part in segments]


def _written_language(segment: Segment, options: TranscribeOptions) -> str | None:
    return "en" if options.translate else segment.language or options.language


FILTERS: Final[list[Callable[[Iterable[Segment], TranscribeOptions], list[Segment]]]] = [
    with_letters,
    in_order,
    numbers_in_digits,
]


def filtered(text: WindowText, options: TranscribeOptions) -> WindowText:
    """Return the text of a window as all filters leave it; `options`: those of its task."""
    segments = text.segments
    for apply in FILTERS:
        segments = apply(segments, options)
    return text.model_copy(update={"segments": segments})
