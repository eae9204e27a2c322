"""Voices: enrolment, references, and complete erasure."""

from datetime import UTC, datetime

import pytest
from nats.aio.msg import Msg
from nats.js.errors import BadRequestError
from natscribe.jetstream.error_codes import QUEUE_FULL
from natscribe.jetstream.large_results import HEADROOM_BYTES
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.requests import UserRequest
from natscribe.schemas.voices import (
    MAX_REFERENCES,
    MIN_REFERENCE_S,
    Consent,
    EnrollRequest,
    ForgetRequest,
    RenameRequest,
    Voice,
    VoicesRequest,
)
from natscribe.schemas.wire import Model

from app.engines.diarization import VOICE_NETWORK
from app.engines.messages import RecordingEmbeddings, SpeakerEmbedding
from app.requests.voice_requests import TRIES
from app.runtime.errors import RequestError
from app.speech.voices.store import StoredReference, StoredVoice
from app.storage.jetstream.records import UnreadableError
from app.storage.jetstream.stream_log import WRONG_LAST_SEQUENCE
from app.storage.jetstream.tokens import token
from app.tasks.task_log.record import Record
from tests.fakes.engine import voice_of
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts

CONSENT = Consent(by="Anna Berg", at=datetime(2026, 11, 24, tzinfo=UTC))
VOICES = "$KV.voices."
BUSY = BadRequestError(code=400, err_code=WRONG_LAST_SEQUENCE)


def speaker(number: int = 0, *, seconds: float = 30.0, agreement: float = 0.9) -> SpeakerEmbedding:
    name = f"SPEAKER_{number:02}"
    embeddings = {"values": voice_of(name), "telephone": voice_of(f"{name} on the telephone")}
    return SpeakerEmbedding(speaker=name, seconds=seconds, agreement=agreement, **embeddings)


async def completed(parts: Parts, task_id: str, *speakers: SpeakerEmbedding, state: State = State.COMPLETED) -> Record:
    """Store a task of user 7 with speaker embeddings, and return its last record."""
    record = await parts.reaching(state, task_id)
    embedded = RecordingEmbeddings(model=VOICE_NETWORK.model, speakers=list(speakers) or [speaker()])
    await parts.results.embeddings.put(embedded.model_dump_json().encode(), record)
    return record


def enrolment(**changes: object) -> EnrollRequest:
    whole = {"user_id": 7, "task_id": "call", "name": "Anna", "consent": CONSENT} | changes
    return EnrollRequest.model_validate(whole)


async def refused(parts: Parts, request: EnrollRequest) -> tuple[ErrorCode, str]:
    with pytest.raises(RequestError) as error:
        await parts.voices.enroll(request)
    return error.value.detail.code, error.value.detail.message


async def listed(parts: Parts, user_id: int | str = 7) -> list[Voice]:
    return (await parts.voices.page(VoicesRequest(user_id=user_id))).voices


def stored(name: str = "Anna", model: Model | None = None, references: int = 1) -> StoredVoice:
    """A voice whose references are of tasks 0, 1, 2..."""
    return StoredVoice(
        voice="a" * 32,
        user_id=7,
        name=name,
        consent=CONSENT,
        model=model or VOICE_NETWORK.model,
        references=[
            StoredReference(
                task_id=str(number),
                speaker="SPEAKER_00",
                seconds=20,
                at=CONSENT.at,
                values=voice_of(name),
                telephone=voice_of(f"{name} on the telephone"),
            )
            for number in range(references)
        ],
    )


async def test_a_voice_is_enrolled_from_the_only_or_the_named_speaker(parts: Parts) -> None:
    await completed(parts, "alone")
    await completed(parts, "call", speaker(0), speaker(1, seconds=40))
    anna = await parts.voices.enroll(enrolment(task_id="alone"))
    boris = await parts.voices.enroll(enrolment(task_id="call", name="Boris", speaker="SPEAKER_01"))
    assert (anna.name, [reference.task_id for reference in anna.references]) == ("Anna", ["alone"])
    assert [(reference.speaker, reference.seconds) for reference in boris.references] == [("SPEAKER_01", 40)]
    assert (anna.consent, anna.comparable) == (CONSENT, True)
    assert await listed(parts) == [anna, boris]
    # And no reply has what speakers are compared with
    assert voice_of("SPEAKER_00") not in anna.model_dump_json()


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({}, ErrorCode.INVALID_REQUEST, "2 speakers: select one"),
        ({"speaker": "SPEAKER_07"}, ErrorCode.NOT_FOUND, "SPEAKER_00, SPEAKER_01"),
        ({"speaker": "SPEAKER_00", "user_id": 8}, ErrorCode.NOT_FOUND, "No task call"),
        ({"speaker": "SPEAKER_00", "user_id": "7"}, ErrorCode.NOT_FOUND, "No task call"),
        ({"speaker": "SPEAKER_00", "name": None, "voice": "0" * 32}, ErrorCode.NOT_FOUND, "no voice"),
        ({"speaker": "SPEAKER_00", "task_id": "other"}, ErrorCode.NOT_FOUND, "No task other"),
    ],
)
async def test_an_invalid_enrolment_gets_the_reason(
    parts: Parts, changes: dict[str, object], code: ErrorCode, words: str
) -> None:
    await completed(parts, "call", speaker(0), speaker(1))
    error = await refused(parts, enrolment(**changes))
    assert (error[0], words in error[1]) == (code, True), error
    assert await listed(parts) == []


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (speaker(seconds=MIN_REFERENCE_S), None),
        (speaker(seconds=MIN_REFERENCE_S - 0.1), "says only 14.9 s alone, and a reference needs 15 s"),
        (speaker(agreement=VOICE_NETWORK.min_agreement), None),
        (speaker(agreement=VOICE_NETWORK.min_agreement - 0.01), "sounds like two people"),
    ],
)
async def test_a_reference_is_long_enough_and_of_one_person(
    parts: Parts, chosen: SpeakerEmbedding, words: str | None
) -> None:
    await completed(parts, "call", chosen)
    if words is None:
        assert (await parts.voices.enroll(enrolment())).references
    else:
        assert words in (await refused(parts, enrolment()))[1]


async def test_only_a_completed_task_with_embeddings_can_be_enrolled_from(parts: Parts) -> None:
    await completed(parts, "runs", state=State.RUNNING)
    assert (await refused(parts, enrolment(task_id="runs")))[0] is ErrorCode.NOT_FINISHED
    await completed(parts, "cancelled", state=State.CANCELLED)
    assert (await refused(parts, enrolment(task_id="cancelled")))[0] is ErrorCode.NOT_FOUND
    await parts.reaching(State.COMPLETED, "plain")
    code, message = await refused(parts, enrolment(task_id="plain"))
    assert (code, "`identify: true`" in message) == (ErrorCode.NOT_FOUND, True)


async def test_a_voice_retains_its_newest_references(parts: Parts, nats: InMemoryNats) -> None:
    # Given a voice with the maximum number of references
    await parts.voice_store.add(stored(references=MAX_REFERENCES))
    for task_id in ("0", "1", "call"):
        await completed(parts, task_id)
    later = Consent(by="Anna herself", at=CONSENT.at)
    # When the same reference is added twice
    for _ in range(2):
        voice = await parts.voices.enroll(enrolment(name=None, voice="a" * 32, consent=later))
    # Then it replaces the oldest one, and counts once
    assert [reference.task_id for reference in voice.references] == [*map(str, range(1, MAX_REFERENCES)), "call"]
    assert (voice.consent, await listed(parts)) == (later, [voice])
    # And the embeddings of the replaced task are erased, because forgetting the voice would not find them
    stored_embeddings = nats.streams["KV_embeddings"].messages
    assert [message.subject for message in stored_embeddings] == ["$KV.embeddings.1", "$KV.embeddings.call"]


async def test_a_second_voice_of_a_person_needs_another(parts: Parts) -> None:
    for task_id in ("call", "next"):
        await completed(parts, task_id, speaker(0), speaker(1))
    anna = await parts.voices.enroll(enrolment(speaker="SPEAKER_00"))
    boris = await parts.voices.enroll(enrolment(speaker="SPEAKER_01", name="Boris"))
    # When an enrolled person is enrolled again, then the error names the similar voice
    for wrong in ({}, {"name": None, "voice": boris.voice}):
        code, message = await refused(parts, enrolment(speaker="SPEAKER_00", **wrong))
        assert (code, f"SPEAKER_00 is similar to the voice {anna.voice}" in message) == (
            ErrorCode.INVALID_REQUEST,
            True,
        )
    # And a reference can be added to that voice
    more = await parts.voices.enroll(enrolment(task_id="next", speaker="SPEAKER_00", name=None, voice=anna.voice))
    assert [reference.task_id for reference in more.references] == ["call", "next"]
    # And another person with a similar voice is enrolled with `another`
    await parts.voices.enroll(enrolment(speaker="SPEAKER_00", name="Berta", another=True))
    assert sorted(voice.name for voice in await listed(parts)) == ["Anna", "Berta", "Boris"]


async def test_a_new_reference_replaces_those_of_another_network(parts: Parts) -> None:
    # Given a voice with references of another network
    await parts.voice_store.add(stored(model=Model(name="other", revision="1"), references=3))
    assert [voice.comparable for voice in await listed(parts)] == [False]
    # When a reference is added, then it is the only one
    await completed(parts, "call")
    voice = await parts.voices.enroll(enrolment(name=None, voice="a" * 32))
    assert ([reference.task_id for reference in voice.references], voice.comparable) == (["call"], True)


async def test_only_its_user_can_rename_a_voice(parts: Parts) -> None:
    await parts.voice_store.add(stored())
    assert (await parts.voices.rename(RenameRequest(user_id=7, voice="a" * 32, name="Anna Berg"))).name == "Anna Berg"
    assert [voice.name for voice in await listed(parts)] == ["Anna Berg"]
    for stranger in ("7", 8):
        with pytest.raises(RequestError, match="no voice"):
            await parts.voices.rename(RenameRequest(user_id=stranger, voice="a" * 32, name="Boris"))
        assert await listed(parts, stranger) == []


async def test_other_messages_below_the_subjects_of_a_user_are_no_voices(parts: Parts, nats: InMemoryNats) -> None:
    # Given messages under the subjects of a user: a deleted key, and the voice of another user with the same token
    theirs = stored().model_copy(update={"user_id": 8}).model_dump_json().encode()
    for voice, body in ("b" * 32, b""), ("c" * 32, theirs):
        await nats.jetstream().publish(f"{VOICES}{token(7)}.{voice}", body)
        with pytest.raises(RequestError, match="no voice"):
            await parts.voices.rename(RenameRequest(user_id=7, voice=voice, name="Boris"))
    # Then no request treats them as voices of the user
    assert (await listed(parts), await parts.voice_store.comparable(7)) == ([], [])


async def test_an_unreadable_voice_is_neither_missing_nor_forgotten(parts: Parts, nats: InMemoryNats) -> None:
    # Given a voice that only a later version can read
    await nats.jetstream().publish(f"{VOICES}{token(7)}.{'b' * 32}", b'{"later": 1}')
    # Then no request claims that there is none
    for request in (
        parts.voices.rename(RenameRequest(user_id=7, voice="b" * 32, name="Boris")),
        listed(parts),
        parts.voice_store.comparable(7),
        anext(parts.voices.forget_all(7)),
    ):
        with pytest.raises(UnreadableError, match="another version"):
            await request


@pytest.mark.parametrize("others", [TRIES - 1, TRIES])
async def test_a_concurrent_change_is_retried(parts: Parts, nats: InMemoryNats, others: int) -> None:
    await parts.voice_store.add(stored())
    nats.before(VOICES, *[BUSY] * others)
    renaming = parts.voices.rename(RenameRequest(user_id=7, voice="a" * 32, name="Anna Berg"))
    if others < TRIES:
        assert (await renaming).name == "Anna Berg"
    else:
        with pytest.raises(RequestError, match="several requests at once"):
            await renaming


@pytest.mark.parametrize(
    ("error", "words"), [(QUEUE_FULL, "no room in the bucket voices"), (10_060, "try again in a moment")]
)
async def test_an_error_of_nats_is_reported(parts: Parts, nats: InMemoryNats, error: int, words: str) -> None:
    await completed(parts, "call")
    nats.before(VOICES, BadRequestError(code=400, err_code=error))
    code, message = await refused(parts, enrolment())
    assert (code, words in message) == (ErrorCode.INTERNAL, True), message


@pytest.mark.parametrize("lacking", [0, 1])
async def test_a_page_has_as_many_voices_as_fit_into_a_reply(parts: Parts, nats: InMemoryNats, lacking: int) -> None:
    # Given two voices, and replies that have room for both to the byte, or one byte less
    for number in "ab":
        await parts.voice_store.add(stored().model_copy(update={"voice": number * 32}))
    both = await listed(parts)
    nats.max_payload = HEADROOM_BYTES + sum(len(voice.model_dump_json()) + 1 for voice in both) - lacking
    # When they are listed, then the page has a cursor if there is more, and the next page continues there
    page = await parts.voices.page(VoicesRequest(user_id=7))
    assert page.voices == both[: 2 - lacking]
    if lacking:
        rest = await parts.voices.page(VoicesRequest(user_id=7, after=page.more_after or 0))
        assert (rest.voices, rest.more_after) == (both[1:], None)
    else:
        assert page.more_after is None


async def test_a_forgotten_voice_is_erased_and_announced(parts: Parts, nats: InMemoryNats) -> None:
    # Given a voice, its task, and a subscriber
    events: list[Msg] = []

    async def append(message: Msg) -> None:
        events.append(message)

    await nats.subscribe(subjects.forgotten("*"), cb=append)
    await completed(parts, "call")
    voice = (await parts.voices.enroll(enrolment())).voice
    # When it is forgotten
    assert (await parts.voices.forget(ForgetRequest(user_id=7, voice=voice))).voice == voice
    # Then voice and embeddings are erased, and the voice cannot be forgotten again
    assert [event.subject for event in events] == [subjects.forgotten(voice)]
    assert [nats.streams[f"KV_{bucket}"].messages for bucket in ("voices", "embeddings")] == [[], []]
    with pytest.raises(RequestError, match="no voice"):
        await parts.voices.forget(ForgetRequest(user_id=7, voice=voice))


async def test_the_voices_of_an_erased_user_are_forgotten_and_no_others(parts: Parts) -> None:
    await parts.voice_store.add(stored())
    await parts.voice_store.add(stored().model_copy(update={"user_id": 8}))
    await parts.users.delete(UserRequest(user_id=7))
    assert (await listed(parts), len(await listed(parts, 8))) == ([], 1)
