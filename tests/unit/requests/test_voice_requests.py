"""Voices: who may be enrolled, what a voice keeps, and what is left when it is forgotten."""

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
    LEAST_REFERENCE_S,
    MOST_REFERENCES,
    Consent,
    EnrollRequest,
    ForgetRequest,
    RenameRequest,
    Voice,
    VoicesRequest,
)
from natscribe.schemas.wire import Model

from app.engines.diarization.identity import embedding_network
from app.engines.messages import Embedded, SpeakerEmbedding
from app.errors import RequestError
from app.jetstream.records import UnreadableError
from app.jetstream.stream_log import WRONG_LAST_SEQUENCE
from app.jetstream.tokens import token
from app.requests.voice_requests import TRIES
from app.voices.enrolment import MIN_AGREEMENT
from app.voices.store import StoredReference, StoredVoice
from tests.fakes.engine import voice_of
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts

CONSENT = Consent(by="Anna Berg", at=datetime(2026, 11, 24, tzinfo=UTC))
VOICES = "$KV.voices."
BUSY = BadRequestError(code=400, err_code=WRONG_LAST_SEQUENCE)


def speaker(number: int = 0, *, seconds: float = 30.0, agreement: float = 0.9) -> SpeakerEmbedding:
    name = f"SPEAKER_{number:02}"
    heard = {"values": voice_of(name), "telephone": voice_of(f"{name} on the telephone")}
    return SpeakerEmbedding(speaker=name, seconds=seconds, agreement=agreement, **heard)


async def heard(parts: Parts, task_id: str, *speakers: SpeakerEmbedding, state: State = State.COMPLETED) -> None:
    """A task of user 7 whose speakers are kept."""
    record = await parts.reaching(state, task_id)
    found = Embedded(model=embedding_network(), speakers=list(speakers) or [speaker()])
    await parts.results.embeddings.put(found.model_dump_json().encode(), record)


def asked(**changes: object) -> EnrollRequest:
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
        model=model or embedding_network(),
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


async def test_a_voice_is_made_of_the_only_speaker_or_of_the_one_that_is_named(parts: Parts) -> None:
    await heard(parts, "alone")
    await heard(parts, "call", speaker(0), speaker(1, seconds=40))
    anna = await parts.voices.enroll(asked(task_id="alone"))
    boris = await parts.voices.enroll(asked(task_id="call", name="Boris", speaker="SPEAKER_01"))
    assert (anna.name, [each.task_id for each in anna.references]) == ("Anna", ["alone"])
    assert [(each.speaker, each.seconds) for each in boris.references] == [("SPEAKER_01", 40)]
    assert (anna.consent, anna.comparable) == (CONSENT, True)
    assert await listed(parts) == [anna, boris]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({}, ErrorCode.INVALID_REQUEST, "2 speakers: name one of them"),
        ({"speaker": "SPEAKER_07"}, ErrorCode.NOT_FOUND, "SPEAKER_00, SPEAKER_01"),
        ({"speaker": "SPEAKER_00", "user_id": 8}, ErrorCode.NOT_FOUND, "No task call"),
        ({"speaker": "SPEAKER_00", "user_id": "7"}, ErrorCode.NOT_FOUND, "No task call"),
        ({"speaker": "SPEAKER_00", "name": None, "voice": "0" * 32}, ErrorCode.NOT_FOUND, "no voice"),
        ({"speaker": "SPEAKER_00", "task_id": "other"}, ErrorCode.NOT_FOUND, "No task other"),
    ],
)
async def test_an_enrolment_says_what_is_missing(
    parts: Parts, changes: dict[str, object], code: ErrorCode, words: str
) -> None:
    await heard(parts, "call", speaker(0), speaker(1))
    found = await refused(parts, asked(**changes))
    assert (found[0], words in found[1]) == (code, True), found
    assert await listed(parts) == []


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (speaker(seconds=LEAST_REFERENCE_S), None),
        (speaker(seconds=LEAST_REFERENCE_S - 0.1), "says only 14.9 s alone, and a reference needs 15 s"),
        (speaker(agreement=MIN_AGREEMENT), None),
        (speaker(agreement=MIN_AGREEMENT - 0.01), "sounds like two people"),
    ],
)
async def test_a_reference_is_long_enough_and_of_one_person(
    parts: Parts, chosen: SpeakerEmbedding, words: str | None
) -> None:
    await heard(parts, "call", chosen)
    if words is None:
        assert (await parts.voices.enroll(asked())).references
    else:
        assert words in (await refused(parts, asked()))[1]


async def test_a_task_gives_a_voice_only_when_it_has_completed_and_kept_its_speakers(parts: Parts) -> None:
    await heard(parts, "runs", state=State.RUNNING)
    assert (await refused(parts, asked(task_id="runs")))[0] is ErrorCode.NOT_FINISHED
    await heard(parts, "cancelled", state=State.CANCELLED)
    assert (await refused(parts, asked(task_id="cancelled")))[0] is ErrorCode.NOT_FOUND
    await parts.reaching(State.COMPLETED, "plain")
    code, message = await refused(parts, asked(task_id="plain"))
    assert (code, "`identify: true`" in message) == (ErrorCode.NOT_FOUND, True)


async def test_a_voice_gets_references_and_keeps_the_newest(parts: Parts, nats: InMemoryNats) -> None:
    # Given a voice that has as many references as it may have
    await parts.voice_store.add(stored(references=MOST_REFERENCES))
    for task_id in ("0", "1", "call"):
        await heard(parts, task_id)
    later = Consent(by="Anna herself", at=CONSENT.at)
    # When it gets one more, twice the same
    for _ in range(2):
        voice = await parts.voices.enroll(asked(name=None, voice="a" * 32, consent=later))
    # Then the oldest one has gone, and no speech counts twice
    assert [each.task_id for each in voice.references] == [*map(str, range(1, MOST_REFERENCES)), "call"]
    assert (voice.consent, await listed(parts)) == (later, [voice])
    # And so have the embeddings of its task, which nobody would find when the voice is forgotten
    kept = nats.streams["KV_embeddings"].messages
    assert [each.subject for each in kept] == ["$KV.embeddings.1", "$KV.embeddings.call"]


async def test_who_has_a_voice_gets_another_one_only_on_demand(parts: Parts) -> None:
    for task_id in ("call", "next"):
        await heard(parts, task_id, speaker(0), speaker(1))
    anna = await parts.voices.enroll(asked(speaker="SPEAKER_00"))
    boris = await parts.voices.enroll(asked(speaker="SPEAKER_01", name="Boris"))
    # When somebody who is enrolled is enrolled again, then the answer names the voice that sounds the same
    for wrong in ({}, {"name": None, "voice": boris.voice}):
        code, message = await refused(parts, asked(speaker="SPEAKER_00", **wrong))
        assert (code, f"SPEAKER_00 is similar to the voice {anna.voice}" in message) == (
            ErrorCode.INVALID_REQUEST,
            True,
        )
    # And one more reference of that voice is welcome
    more = await parts.voices.enroll(asked(task_id="next", speaker="SPEAKER_00", name=None, voice=anna.voice))
    assert [each.task_id for each in more.references] == ["call", "next"]
    # And somebody else who sounds the same is enrolled on demand
    await parts.voices.enroll(asked(speaker="SPEAKER_00", name="Berta", another=True))
    assert sorted(each.name for each in await listed(parts)) == ["Anna", "Berta", "Boris"]


async def test_references_of_another_network_go_with_the_next_one(parts: Parts) -> None:
    # Given a voice that another network has heard
    await parts.voice_store.add(stored(model=Model(name="other", revision="1"), references=3))
    assert [each.comparable for each in await listed(parts)] == [False]
    # When it gets a reference, then it has this one alone
    await heard(parts, "call")
    voice = await parts.voices.enroll(asked(name=None, voice="a" * 32))
    assert ([each.task_id for each in voice.references], voice.comparable) == (["call"], True)


async def test_a_voice_is_renamed_for_its_user_alone(parts: Parts) -> None:
    await parts.voice_store.add(stored())
    assert (await parts.voices.rename(RenameRequest(user_id=7, voice="a" * 32, name="Anna Berg"))).name == "Anna Berg"
    assert [each.name for each in await listed(parts)] == ["Anna Berg"]
    for stranger in ("7", 8):
        with pytest.raises(RequestError, match="no voice"):
            await parts.voices.rename(RenameRequest(user_id=stranger, voice="a" * 32, name="Boris"))
        assert await listed(parts, stranger) == []


async def test_what_is_no_voice_of_a_user_is_not_read(parts: Parts, nats: InMemoryNats) -> None:
    # Given messages under the subjects of a user: a deleted key, and the voice of another user with the same token
    theirs = stored().model_copy(update={"user_id": 8}).model_dump_json().encode()
    for voice, body in ("b" * 32, b""), ("c" * 32, theirs):
        await nats.jetstream().publish(f"{VOICES}{token(7)}.{voice}", body)
        with pytest.raises(RequestError, match="no voice"):
            await parts.voices.rename(RenameRequest(user_id=7, voice=voice, name="Boris"))
    # Then neither is a voice of the user, for no request
    assert (await listed(parts), await parts.voice_store.comparable(7)) == ([], [])


async def test_a_voice_that_cannot_be_read_is_neither_missing_nor_forgotten(parts: Parts, nats: InMemoryNats) -> None:
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
async def test_a_change_is_tried_again_while_others_change_the_voice(
    parts: Parts, nats: InMemoryNats, others: int
) -> None:
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
async def test_trouble_with_nats_is_told(parts: Parts, nats: InMemoryNats, error: int, words: str) -> None:
    await heard(parts, "call")
    nats.before(VOICES, BadRequestError(code=400, err_code=error))
    code, message = await refused(parts, asked())
    assert (code, words in message) == (ErrorCode.INTERNAL, True), message


@pytest.mark.parametrize("lacking", [0, 1])
async def test_a_page_has_as_many_voices_as_fit_into_a_reply(parts: Parts, nats: InMemoryNats, lacking: int) -> None:
    # Given two voices, and replies that have room for both to the byte, or one byte less
    for number in "ab":
        await parts.voice_store.add(stored().model_copy(update={"voice": number * 32}))
    both = await listed(parts)
    nats.max_payload = HEADROOM_BYTES + sum(len(each.model_dump_json()) + 1 for each in both) - lacking
    # When they are listed, then the page says whether there is more, and the next one goes on there
    page = await parts.voices.page(VoicesRequest(user_id=7))
    assert page.voices == both[: 2 - lacking]
    if lacking:
        rest = await parts.voices.page(VoicesRequest(user_id=7, after=page.more_after or 0))
        assert (rest.voices, rest.more_after) == (both[1:], None)
    else:
        assert page.more_after is None


async def test_a_forgotten_voice_leaves_nothing_and_everybody_is_told(parts: Parts, nats: InMemoryNats) -> None:
    # Given a voice, the task in which it was heard, and somebody who listens
    told: list[Msg] = []

    async def hear(message: Msg) -> None:
        told.append(message)

    await nats.subscribe(subjects.ALL_FORGOTTEN, cb=hear)
    await heard(parts, "call")
    voice = (await parts.voices.enroll(asked())).voice
    # When it is forgotten
    assert (await parts.voices.forget(ForgetRequest(user_id=7, voice=voice))).voice == voice
    # Then neither the voice nor the speakers of the task are kept, and it cannot be forgotten again
    assert [each.subject for each in told] == [subjects.forgotten(voice)]
    assert [nats.streams[f"KV_{bucket}"].messages for bucket in ("voices", "embeddings")] == [[], []]
    with pytest.raises(RequestError, match="no voice"):
        await parts.voices.forget(ForgetRequest(user_id=7, voice=voice))


async def test_the_voices_of_an_erased_user_are_forgotten_and_no_others(parts: Parts) -> None:
    await parts.voice_store.add(stored())
    await parts.voice_store.add(stored().model_copy(update={"user_id": 8}))
    await parts.users.delete(UserRequest(user_id=7))
    assert (await listed(parts), len(await listed(parts, 8))) == ([], 1)
