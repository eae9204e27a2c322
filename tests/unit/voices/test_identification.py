"""Whose voices the speakers of a task have, and under which names a client sees them."""

from base64 import b64encode
from datetime import UTC, datetime

import numpy as np
import pytest
from nats.js.errors import BadRequestError
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.voices import UNKNOWN_SPEAKER, SpeakerVoice
from natscribe.schemas.wire import Model

from app.engines.diarization import VOICE_NETWORK
from app.engines.diarization.chunk_analysis import quantized
from app.engines.messages import RecordingEmbeddings, SpeakerEmbedding
from app.requests.voice_names import with_voice_names
from app.runtime.errors import BucketFullError, RequestError
from app.settings import Settings
from app.speech.updates import Embeddings, Progress, TaskUpdate
from app.speech.voices.identification import MIN_SPEECH_S, NO_ROOM, NOT_READ, Identification, IdentificationOutcome
from tests.fakes.engine import voice_of
from tests.fakes.messages import transcript
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts
from tests.unit.requests.test_voice_requests import stored

NOW = datetime(2026, 11, 24, tzinfo=UTC)
TASK = TranscriptionTask(task_id="t1", audio_file_id="a.flac", user_id=7)
OTHER = Model(name="other", revision="1")
READ = "$JS.API.DIRECT.GET.KV_voices"


async def enrolled(parts: Parts, name: str, user_id: int | str = 7, model: Model | None = None) -> str:
    """The id of a person's voice."""
    changes = {"voice": f"{len(name):032x}", "user_id": user_id}
    voice = stored(name, model).model_copy(update=changes)
    await parts.voice_store.put(voice, after=0)
    return voice.voice


def embedded(*people: str, seconds: float = MIN_SPEECH_S) -> RecordingEmbeddings:
    """Speakers who are these people, on another day."""
    speakers = [
        SpeakerEmbedding(
            speaker=f"SPEAKER_{number:02}",
            seconds=seconds,
            agreement=0.9,
            values=voice_of(name, 2),
            telephone=voice_of(f"{name} on the telephone", 2),
        )
        for number, name in enumerate(people)
    ]
    return RecordingEmbeddings(model=VOICE_NETWORK.model, speakers=speakers)


async def identified(
    parts: Parts, speakers: RecordingEmbeddings, error: Exception | None = None
) -> IdentificationOutcome:
    """What is found for a task; its embeddings are appended, or that fails."""
    appended: list[TaskUpdate] = []

    async def append(update: TaskUpdate) -> None:
        if error is not None:
            raise error
        appended.append(update)

    labels = [f"SPEAKER_{number:02}" for number in range(3)]
    outcome = await Identification(parts.voice_store, Settings(_env_file=None)).run(TASK, speakers, labels, append)
    if error is None:
        assert appended == [Embeddings(speakers.model_dump_json().encode()), Progress(Stage.MERGING, 1.0)]
    return outcome


async def test_only_an_enrolled_speaker_is_identified(parts: Parts) -> None:
    # Given a person of this user, and one of another user whose id reads the same
    anna = await enrolled(parts, "anna")
    await enrolled(parts, "cecile", user_id="7")
    # When both speak, and a person who says too little for an embedding
    outcome = await identified(parts, embedded("anna", "cecile"))
    # Then the first one is found alone
    assert outcome.voices is not None
    assert {label: voice.voice for label, voice in outcome.voices.items()} == {
        "SPEAKER_00": anna,
        "SPEAKER_01": None,
        "SPEAKER_02": None,
    }
    assert (outcome.error, outcome.voices["SPEAKER_02"].score) == (None, None)
    score, of_stranger = (outcome.voices[label].score or 0 for label in ("SPEAKER_00", "SPEAKER_01"))
    assert of_stranger < 0.9 < score <= 1


async def test_a_speaker_with_little_speech_is_not_identified(parts: Parts) -> None:
    await enrolled(parts, "anna")
    outcome = await identified(parts, embedded("anna", seconds=MIN_SPEECH_S - 0.1))
    assert outcome.voices is not None
    assert outcome.voices["SPEAKER_00"].voice is None


@pytest.mark.parametrize(("agreement", "is_named"), [(0.42, False), (0.43, True)])
async def test_a_speaker_who_may_be_two_people_is_not_named_by_whitening(
    parts: Parts, agreement: float, is_named: bool
) -> None:
    # Given a voice that a speaker on a telephone resembles only if their embeddings are whitened
    axes = np.linalg.eigh(VOICE_NETWORK.whitening)[1].T
    reference, spoken = (b64encode(quantized(axes[-1] + sign * 0.9 * axes[0]).tobytes()).decode() for sign in (1, -1))
    anna = stored("anna")
    references = [item.model_copy(update={"telephone": reference}) for item in anna.references]
    await parts.voice_store.put(anna.model_copy(update={"references": references}), after=0)
    # When the parts of the speech agree enough or not
    speaker = SpeakerEmbedding(speaker="S", seconds=60, agreement=agreement, values=spoken, telephone=spoken)
    speakers = RecordingEmbeddings(model=VOICE_NETWORK.model, speakers=[speaker])
    outcome = await Identification(parts.voice_store, Settings(_env_file=None)).compare(7, speakers, ["S"])
    # Then only the speaker who is surely one person is named
    assert outcome.voices is not None
    assert outcome.voices["S"].voice == (anna.voice if is_named else None)


async def test_a_channel_without_text_takes_nobodys_name(parts: Parts) -> None:
    # Given a person in a channel, and the echo of this person in a channel without text, which is a better match
    anna = await enrolled(parts, "anna")
    speakers = embedded("anna")
    anna_speaks, echo = (
        speakers.speakers[0],
        {"values": voice_of("anna"), "telephone": voice_of("anna on the telephone")},
    )
    speakers.speakers.append(anna_speaks.model_copy(update={"speaker": "SPEAKER_03", **echo}))
    # Then the person is named where the text is
    voices = (await identified(parts, speakers)).voices
    assert voices is not None
    assert voices["SPEAKER_00"].voice == anna


async def test_voices_of_another_network_are_counted_and_not_compared(parts: Parts) -> None:
    await enrolled(parts, "anna", model=OTHER)
    await enrolled(parts, "cecile", model=OTHER)
    boris = await enrolled(parts, "boris")
    outcome = await identified(parts, embedded("anna", "boris"))
    assert outcome.voices is not None
    assert [voice.voice for voice in outcome.voices.values()] == [None, boris, None]
    assert outcome.error is not None
    assert outcome.error.message.startswith("2 of the user's voices")


async def test_a_task_completes_without_names_if_identification_fails(parts: Parts, nats: InMemoryNats) -> None:
    assert await identified(parts, embedded("anna"), BucketFullError("embeddings")) == IdentificationOutcome(
        error=NO_ROOM
    )
    del nats.streams["KV_voices"]
    assert await identified(parts, embedded("anna")) == IdentificationOutcome(error=NOT_READ)


async def test_a_client_sees_the_names_that_voices_have_now(parts: Parts, nats: InMemoryNats) -> None:
    # Given a result with a person, one who was forgotten, and a stranger
    anna = await enrolled(parts, "anna")
    voices = {"SPEAKER_00": anna, "SPEAKER_01": "f" * 32, "SPEAKER_02": None}
    result = transcript(
        voices={label: SpeakerVoice(voice=voice, name=None, score=0.9) for label, voice in voices.items()}
    )
    # When a client reads it, then it has the name of the one who is known
    shown = (await with_voice_names(result, parts.voice_store)).voices
    assert shown is not None
    assert [(voice.voice, voice.name) for voice in shown.values()] == [
        (anna, "anna"),
        (None, UNKNOWN_SPEAKER),
        (None, UNKNOWN_SPEAKER),
    ]
    # And without a request there are no voices
    assert (await with_voice_names(result.model_copy(update={"voices": None}), parts.voice_store)).voices is None
    # And an error is reported
    nats.before("$JS.API.STREAM.MSG.GET.KV_voices", BadRequestError(code=400, err_code=10_060))
    with pytest.raises(RequestError) as error:
        await with_voice_names(result, parts.voice_store)
    assert error.value.detail.code is ErrorCode.INTERNAL
