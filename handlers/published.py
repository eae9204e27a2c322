"""Channels without handlers, for the AsyncAPI document: what the service publishes, and live audio from clients."""

from dataclasses import dataclass
from typing import Any

from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.kinds import Result
from natscribe.schemas.live import Partial, SpeakersEvent
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.schemas.voices import Forgotten
from natscribe.schemas.wire import Kind


@dataclass(frozen=True, slots=True)
class DocumentedChannel:
    """A channel without a handler, which is declared only for the AsyncAPI document.

    The first paragraph of `description` is the summary of the operation. If `description` is empty, the document has
    the docstring of `payload` instead.
    """

    subject: str
    payload: Any  # a type or a union of types
    title: str
    description: str = ""


FRAMES = DocumentedChannel(  # pulled page by page from a stream, without a subscriber of FastStream
    subjects.live_audio("{task_id}"),
    bytes,
    "Publish live audio",
    "Publish the audio of a live task, frame by frame.\n\n"
    "One message for each frame, 20 ms to 1 s of audio, before or after the task itself. Publish with JetStream, with "
    "at most 8 frames unacknowledged, and publish an unacknowledged frame again under the same number. A missing "
    "number is a gap: with `opus` the task fails; with the other codecs the gap is silence and listed in "
    "`untranscribed`. A full stream refuses frames with an error (err_code 10077): publish them again later. The audio "
    "ends with the last frame, or after `idle_seconds` without a frame.",
)
PUBLISHED = (  # what the service publishes and no handler returns
    DocumentedChannel(subjects.progress("{task_id}"), ProgressEvent, "Task progress"),
    DocumentedChannel(subjects.segments("{task_id}"), SegmentsEvent, "Live segments"),
    DocumentedChannel(subjects.speakers("{task_id}"), SpeakersEvent, "Live speakers"),
    DocumentedChannel(
        subjects.results("{task_id}"),
        Result,
        "Results",
        "The result of a task.\n\n"
        "One message for each task, stored just before `completed`. If `object` is not null, the whole result is in "
        "the bucket for results under the task id: download it there. A reader of the stream needs the filter "
        "`results.*`: the stream also has the internal `no_results.*`.",
    ),
    DocumentedChannel(subjects.partials("{task_id}"), Partial, "Partial results"),
    DocumentedChannel(subjects.forgotten("{voice}"), Forgotten, "Forgotten voices"),
    *(DocumentedChannel(subjects.dead_letters(kind), DeadLetter, f"Dead letters ({kind})") for kind in Kind),
)
