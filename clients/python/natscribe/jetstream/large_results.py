"""References to results that are too large for a message: the message then names an object with the whole result."""

from nats.js.api import ObjectInfo

from natscribe.jetstream.streams import RESULTS_BUCKET
from natscribe.schemas.kinds import Result
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.schemas.wire import Object

HEADROOM_BYTES = 16 * 1024  # part of max_payload that is left free for headers and envelope


def result_reference(result: Result, info: ObjectInfo) -> Result:
    """Return a copy of a result in which a reference to the stored object `info` replaces segments and text."""
    reference = Object(bucket=RESULTS_BUCKET, name=result.task_id, digest=info.digest or "", size=info.size or 0)
    changes: dict[str, object] = {"object": reference, "segments": []}
    if isinstance(result, TranscriptionResult):
        changes |= {"text": "", "entities": []}
    return result.model_copy(update=changes)
