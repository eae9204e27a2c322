"""Requests to `services/search`, which finds words in transcripts, and its replies."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, Field
from typing_extensions import TypedDict

from .transcription import Language
from .voices import VoiceId
from .wire import Input, Message, Seconds, Speaker, TaskId, Time, UserId

SEARCH: Final = "transcripts.search"  # the subjects of the two requests
TRANSCRIPT: Final = "transcripts.get"

MAX_QUERY_CHARS, MAX_HITS, MAX_SEGMENTS = 500, 50, 500
Moment = Annotated[AwareDatetime, Field(strict=False)]  # JSON has no times


class SearchRequest(Input):
    """A request for the segments that have all words of a query."""

    query: str = Field(
        min_length=1,
        max_length=MAX_QUERY_CHARS,
        description='Words in any form, "phrases" and beginnings of words, such as `invoice*`; a segment has all of '
        "them. Capitals and accents do not matter.",
        examples=['"card number" invoice*'],
    )
    user_id: UserId | None = Field(None, description="Only transcripts of this user.")
    language: Language | None = Field(None, description="Only segments in this language.")
    speaker: Speaker | None = Field(None, description="Only segments of this speaker.")
    voice: VoiceId | None = Field(None, description="Only segments of this enrolled voice.")
    since: Moment | None = Field(None, description="Only results that were computed at this time or later: RFC 3339.")
    until: Moment | None = Field(None, description="Only results that were computed before this time: RFC 3339.")
    limit: int = Field(20, ge=1, le=MAX_HITS, description="Maximum number of hits.")
    after: int = Field(0, ge=0, lt=2**63, description="`more_after` of the last reply; 0: from the newest hit.")


class SearchFilters(TypedDict, total=False):
    """Types of the keyword arguments for the filters of `SearchRequest`."""

    language: str | None
    speaker: str | None
    voice: str | None
    since: datetime | None
    until: datetime | None


class Hit(Message):
    """A segment with the words of the query."""

    task_id: TaskId
    user_id: UserId
    created_at: Time = Field(description="When the result was computed.")
    segment: int = Field(ge=0, description="Number of the segment in the result, from 0.")
    start: Seconds = Field(description="Start of the segment, in seconds.")
    end: Seconds = Field(description="End of the segment, in seconds.")
    speaker: Speaker | None = Field(description="Speaker of the segment; null: unknown.")
    voice: VoiceId | None = Field(description="The enrolled voice of the speaker; null: none.")
    text: str = Field(description="The text of the segment, or the part of a long one that has the words.")
    marks: list[tuple[int, int]] = Field(
        description="Where the words are in `text`: start and end, in characters (code points)."
    )


class SearchPage(Message):
    """Hits, the newest result first."""

    hits: list[Hit]
    more_after: int | None = Field(description="Where to continue; null: there are no more hits.")


class TranscriptRequest(Input):
    """A request for segments of one transcript."""

    task_id: TaskId
    start: Seconds = Field(0.0, description="Only segments that end after this second.")
    end: Seconds | None = Field(None, description="Only segments that start before this second; null: all.")
    speaker: Speaker | None = Field(None, description="Only segments of this speaker.")
    after: int = Field(0, ge=0, description="`more_after` of the last reply; 0: from the first segment.")


class IndexedSegment(Message):
    """A segment of a transcript."""

    segment: int = Field(ge=0, description="Number of the segment in the result, from 0.")
    start: Seconds
    end: Seconds
    speaker: Speaker | None
    text: str


class Transcript(Message):
    """Segments of a transcript, in its order."""

    task_id: TaskId
    user_id: UserId
    created_at: Time
    segments: list[IndexedSegment]
    more_after: int | None = Field(description="Where to continue; null: there are no more segments.")
