"""Enrolment: find the speaker whom a request means, and make or change the voice of this person."""

from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.problems import invalid_request
from natscribe.schemas.voices import LEAST_REFERENCE_S, MOST_REFERENCES, EnrollRequest
from natscribe.schemas.wire import Model

from app.engines.messages import Embedded, SpeakerEmbedding
from app.errors import RequestError, refusal
from app.voices.store import StoredReference, StoredVoice

# One person has .66 and more, in noise, too; two who share the time have less (docs/decisions/0031).
LEAST_AGREEMENT: Final = 0.65


def chosen_speaker(embedded: Embedded, request: EnrollRequest) -> SpeakerEmbedding:
    """Return the embedding of the speaker whom a request names, or of the only speaker.

    Raises:
        RequestError: There is no such speaker, the request names none of several, or the speaker says too little alone
            or sounds like two people.
    """
    speakers = [each.speaker for each in embedded.speakers]
    if request.speaker is None and len(speakers) != 1:
        problem = f"the recording has {len(speakers)} speakers: name one of them, or record one person"
        raise refusal(invalid_request(problem))
    label = request.speaker or speakers[0]
    chosen = embedded.of(label)
    if chosen is None:
        message = f"Task {request.task_id} has no {label}: its speakers are {', '.join(speakers)}."
        raise RequestError(ErrorCode.NOT_FOUND, message)
    if chosen.seconds < LEAST_REFERENCE_S:
        problem = (
            f"{label} says only {chosen.seconds:.1f} s alone, and a reference needs {LEAST_REFERENCE_S:.0f} s without "
            "another voice: enrol from a longer recording"
        )
        raise refusal(invalid_request(problem))
    if chosen.agreement < LEAST_AGREEMENT:
        problem = f"{label} sounds like two people, or changes too much: enrol from a recording of one person"
        raise refusal(invalid_request(problem))
    return chosen


def reference_of(task_id: str, speaker: SpeakerEmbedding) -> StoredReference:
    """Make a reference of the embeddings of a speaker of a task."""
    return StoredReference(
        task_id=task_id,
        speaker=speaker.speaker,
        seconds=speaker.seconds,
        at=datetime.now(UTC),
        values=speaker.values,
        telephone=speaker.telephone,
    )


def new_voice(request: EnrollRequest, reference: StoredReference, model: Model) -> StoredVoice:
    """Make a voice with one reference, and a random id; `model` is the network that made the reference."""
    return StoredVoice(
        voice=uuid4().hex,
        user_id=request.user_id,
        name=request.name or "",
        consent=request.consent,
        model=model,
        references=[reference],
    )


def with_reference(known: StoredVoice, request: EnrollRequest, reference: StoredReference, model: Model) -> StoredVoice:
    """Return a voice with one more reference, and with the consent of the request.

    Its older references stay, except those of other networks than `model`, one of the same speaker of the same task,
    and the oldest if there would be too many.
    """
    source = reference.task_id, reference.speaker
    others = known.references if known.model.revision == model.revision else []
    kept = [each for each in others if (each.task_id, each.speaker) != source][-(MOST_REFERENCES - 1) :]
    changed = {"consent": request.consent, "model": model, "references": [*kept, reference]}
    return known.model_copy(update=changed)
