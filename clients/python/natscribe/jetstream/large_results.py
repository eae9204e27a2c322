"""Results that are too large for a message: an object holds the whole result, and its message refers to the object."""

from nats.js.api import ObjectInfo

from natscribe.jetstream.streams import RESULTS_BUCKET
from natscribe.schemas.kinds import Result
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.schemas.wire import Object

HEADROOM_BYTES = 16 * 1024  # part of max_payload that is left free for headers and envelope


def result_reference(result: Result, info: ObjectInfo) -> Result:
    """Return a result without its segments and text, which refers to the object that holds the whole result."""
    reference = Object(bucket=RESULTS_BUCKET, name=result.task_id, digest=info.digest or "", size=info.size or 0)
    emptied: dict[str, object] = {"object": reference, "segments": []}
    if isinstance(result, TranscriptionResult):
        emptied["text"] = ""
    return result.model_copy(update=emptied)
