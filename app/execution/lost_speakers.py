"""Lost speakers: workers that end between text and speakers cost the speakers, not the text."""

from typing import Final

from schemas.errors import ErrorCode, ErrorDetail
from schemas.progress import ProgressEvent, Stage, State
from schemas.wire import Kind

SPEAKERS_MISSING: Final = {Stage.DIARIZING, Stage.MERGING}  # of a transcription: its text is complete by then
LOST: Final = ErrorDetail(
    code=ErrorCode.WORKER_LOST, message="The workers were lost while they looked for speakers: see the service's logs."
)


def speakers_are_given_up(last: ProgressEvent) -> bool:
    """Whether the last of the attempts ended between text and speakers: the text is to be saved without them."""
    ended = last.state in {State.RUNNING, State.RETRYING} and last.attempt >= last.max_attempts
    return ended and last.kind is Kind.TRANSCRIPTION and last.stage in SPEAKERS_MISSING
