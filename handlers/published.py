"""Channels without handlers, for the AsyncAPI document: what the service publishes, and frames of live audio."""

from dataclasses import dataclass
from typing import Any

from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.kinds import Result
from natscribe.schemas.live import Partial
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.schemas.voices import Forgotten
from natscribe.schemas.wire import Kind


@dataclass(frozen=True, slots=True)
class Documented:
    """A channel without a handler, declared for the AsyncAPI document only.

    The first paragraph of `description` is the summary of the operation.
    """

    subject: str
    payload: Any  # a type; mypy has no annotation for a union
    title: str
    description: str


FRAMES = Documented(  # pulled page by page from a stream, without a subscriber of FastStream
    subjects.LIVE_AUDIO_CHANNEL,
    bytes,
    "Publish live audio",
    "Receive the audio of a live task, frame by frame.\n\n"
    "One message for each frame, 20 ms to 1 s of audio, before or after the task itself. Publish with JetStream, with "
    "at most 8 frames unacknowledged, and publish an unacknowledged frame again under the same number. A missing "
    "number is a gap: with `opus` the task fails; with the other codecs the gap is silence and listed in "
    "`untranscribed`. A full stream refuses frames with an error (err_code 10077): publish them again later. The audio "
    "ends with the last frame, or after `idle_seconds` without a frame.",
)
PUBLISHED = (  # what the service publishes and no handler returns
    Documented(
        subjects.PROGRESS_CHANNEL,
        ProgressEvent,
        "Task progress",
        "The events of a task until it ends.\n\n"
        "All events of one task, in order: `sequence` counts from 1 without gaps. Subscribe before or after you "
        "publish the task: an ordered consumer of the stream (deliver policy `all`) starts with the first event. "
        "`completed`, `failed` and `cancelled` are final. A running task has an event at least every 10 s and at most "
        "1 event per second.",
    ),
    Documented(
        subjects.SEGMENTS_CHANNEL,
        SegmentsEvent,
        "Live segments",
        "The text of a task while it runs.\n\n"
        "Each event has the text since the previous event. Its segments have no speakers, unless each channel counts "
        "as one speaker (`channel` is not null). The channels of a recording are transcribed one after the other, each "
        "from its start; those of a live task at the same time. After the loss of a worker, the next worker continues "
        "where the last event ends: no text is repeated. Only transcriptions have segments.",
    ),
    Documented(
        subjects.RESULTS_CHANNEL,
        Result,
        "Results",
        "The result of a task.\n\n"
        "One message for each task, stored just before `completed`. If `object` is not null, the whole result is in "
        "the bucket for results under the task id: download it there.",
    ),
    Documented(
        subjects.PARTIALS_CHANNEL,
        Partial,
        "Partial results",
        "The text so far of an utterance in progress.\n\n"
        "Core NATS, not stored: about 1 partial result per second, fewer on a busy worker. Each replaces the previous "
        "one with the same `channel` and `start`. Later partial results of the utterance never change the words in "
        "`stable`. The segments of the utterance, on `segments.{task_id}`, replace its partial results, and may still "
        "differ from them.",
    ),
    Documented(
        subjects.FORGOTTEN_CHANNEL,
        Forgotten,
        "Forgotten voices",
        "The events that voices were forgotten.\n\n"
        "Core NATS, not stored. A client that has stored the name of the voice has to delete it, too.",
    ),
    *(
        Documented(
            subjects.dead_letters(kind),
            DeadLetter,
            f"Dead letters ({kind})",
            "Task messages that failed for good.\n\n"
            "They failed in all attempts or were never valid. Each is stored as it was sent, with the reason.",
        )
        for kind in Kind
    ),
)
