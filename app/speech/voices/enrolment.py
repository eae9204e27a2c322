"""Enrolment: create or extend a voice, i.e. a person known by name, from a speaker of a completed task.

A voice has references: pairs of embeddings, each from one task, with which later speakers are compared.
"""

from datetime import UTC, datetime
from uuid import uuid4

from natscribe.schemas.problems import invalid_request
from natscribe.schemas.request_errors import speaker_error
from natscribe.schemas.voices import MAX_REFERENCES, MIN_REFERENCE_S, EnrollRequest
from natscribe.schemas.wire import Model

from app.engines.diarization import VOICE_NETWORK
from app.engines.messages import RecordingEmbeddings, SpeakerEmbedding
from app.runtime.errors import RequestError
from app.speech.voices.store import StoredReference, StoredVoice


def chosen_speaker(embedded: RecordingEmbeddings, request: EnrollRequest) -> SpeakerEmbedding:
    """Return the embedding of the speaker that an enrolment request names, or of the only speaker of the task.

    Raises:
        RequestError: There is no such speaker, or the request names none of several speakers; or the speaker has too
            little speech without overlap, or sounds like two people.
    """
    speakers = [item.speaker for item in embedded.speakers]
    if (error := speaker_error(request, speakers)) is not None:
        raise RequestError.of(error)
    label = request.speaker or speakers[0]
    chosen = embedded.speakers[speakers.index(label)]
    if chosen.seconds < MIN_REFERENCE_S:
        problem = (
            f"{label} says only {chosen.seconds:.1f} s alone, and a reference needs {MIN_REFERENCE_S:.0f} s without "
            "another voice: enrol from a longer recording"
        )
        raise RequestError.of(invalid_request(problem))
    if chosen.agreement < VOICE_NETWORK.min_agreement:
        problem = f"{label} sounds like two people, or changes too much: enrol from a recording of one person"
        raise RequestError.of(invalid_request(problem))
    return chosen


def reference_of(task_id: str, speaker: SpeakerEmbedding) -> StoredReference:
    """Build a reference from a speaker of a task, dated now: embeddings with which later speakers are compared.

    The reference is not stored.
    """
    return StoredReference(
        task_id=task_id,
        speaker=speaker.speaker,
        seconds=speaker.seconds,
        at=datetime.now(UTC),
        values=speaker.values,
        telephone=speaker.telephone,
    )


def new_voice(request: EnrollRequest, reference: StoredReference, model: Model) -> StoredVoice:
    """Create the voice of a newly enrolled person with one reference; `model`: the reference's embedding model."""
    return StoredVoice(
        voice=uuid4().hex,
        user_id=request.user_id,
        name=request.name or "",
        consent=request.consent,
        model=model,
        references=[reference],
    )


def with_reference(voice: StoredVoice, request: EnrollRequest, reference: StoredReference, model: Model) -> StoredVoice:
    """Return a copy of a voice with an additional reference, and with the consent given in the request.

    `model`: the embedding model of the new reference. The copy has no references of other models, and no older one of
    the same speaker in the same task. If it would have more than MAX_REFERENCES, the oldest ones are left out.
    """
    source = reference.task_id, reference.speaker
    older = voice.references if voice.model.revision == model.revision else []
    older = [item for item in older if (item.task_id, item.speaker) != source][-(MAX_REFERENCES - 1) :]
    changes = {"consent": request.consent, "model": model, "references": [*older, reference]}
    return voice.model_copy(update=changes)
