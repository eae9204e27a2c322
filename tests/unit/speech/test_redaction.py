"""The text of a task is redacted before anybody gets it, also what is given over several windows and turns."""

from collections.abc import AsyncGenerator, Sequence

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import Stage
from natscribe.schemas.redaction import EntityType, SpokenEntity
from natscribe.schemas.transcription import Segment, TranscriptionTask, Word

from app.engines.engine import Engine
from app.engines.messages import FindPersons, Job, Reply, StageAdvanced
from app.engines.windows import WindowText
from app.runtime.errors import TransientError
from app.speech.redaction import MAX_HELD, Redactor, warnings_of
from app.speech.updates import Checkpoint
from tests.fakes.engine import FakeEngine

LONG = " ".join(["and then we went on to talk about many other things which have nothing to do with this"] * 3)


def segment(text: str, start: float, language: str | None = "en") -> Segment:
    """A segment whose words take a second each."""
    words = [
        Word(start=start + n, end=start + n + 1, word=f" {w}", probability=0.9) for n, w in enumerate(text.split())
    ]
    return Segment(start=start, end=start + max(len(words), 1), text=text, language=language, words=words)


def window(*texts: str, at: float = 0.0, language: str | None = "en") -> WindowText:
    return WindowText(segments=[segment(text, at, language) for text in texts], language=language, end=at + 20)


def redactor(
    *entities: str,
    replace: str = "label",
    checkpoint: Checkpoint | None = None,
    engine: Engine | None = None,
    **options: object,
) -> Redactor:
    fields: dict[str, object] = {"task_id": "t", "audio_file_id": "a", "user_id": 1}
    redact = {"entities": entities, "replace": replace} if entities else None
    task = TranscriptionTask.model_validate(fields | {"redact": redact} | options)
    return Redactor(task, checkpoint or Checkpoint(), engine or FakeEngine())


async def of(items: Sequence[StageAdvanced | WindowText]) -> AsyncGenerator[StageAdvanced | WindowText, None]:
    for item in items:
        yield item


async def recording(redactor: Redactor, *items: StageAdvanced | WindowText) -> list[WindowText]:
    return [item async for item in redactor.recording(of(items)) if isinstance(item, WindowText)]


def said(texts: Sequence[WindowText]) -> list[str]:
    """The text of each segment, which its words have as well."""
    segments = [segment for text in texts for segment in text.segments]
    for part in segments:
        assert "".join(word.word for word in part.words or ()).strip() == part.text
    return [part.text for part in segments]


async def test_a_value_is_one_word_with_its_times_and_is_listed_without_its_text() -> None:
    # Given a window with a telephone number from its third to its eighth second
    text = window("call me: 555 123 45 67 please")
    (redacted,) = await recording(redactor("phone"), text)
    # Then its words are one, and the entity has their times
    assert said([redacted]) == ["call me: [PHONE] please"]
    (word,) = [word for word in redacted.segments[0].words or () if "PHONE" in word.word]
    (entity,) = redacted.entities
    assert (word.start, word.end) == (entity.start, entity.end) == (2, 6)
    assert (entity.type, entity.number) == (EntityType.PHONE, 1)
    assert "555" not in redacted.model_dump_json()


async def test_a_task_without_redact_has_its_text_as_it_is() -> None:
    text = window("call me: 555 123 45 67 please")
    assert await recording(redactor(), text) == [text]
    assert await redactor().live(text) == text


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("my card number is four one one one, one one one one", "one one one one, one one one one. thanks"),
        ("my card number is 4111 1111", "okay 1111 1111"),
        ("my card number is 4111", "uh, 1111 1111 1111 that is it"),
    ],
)
@pytest.mark.parametrize("silent", [0, 1, MAX_HELD + 2])
async def test_a_number_over_two_windows_of_a_recording_is_one_value(first: str, second: str, silent: int) -> None:
    # Given a card number that begins in one window and ends in a later one, with a silent window between or not
    windows = [window(first), *[window(at=20)] * silent, window(second, at=40)]
    # When all of it is redacted
    texts = await recording(redactor("pci", replace="numbered"), *windows)
    # Then both parts are replaced, as one value
    parts = said(texts)
    assert all("[CARD_1]" in part and not any(map(str.isdigit, part.replace("_1", ""))) for part in parts)
    assert {entity.number for text in texts for entity in text.entities} == {1}
    assert [len(text.entities) for text in texts] == [1, *[0] * silent, 1]


async def test_text_of_a_recording_waits_until_no_number_can_continue_in_it() -> None:
    # Given three windows, the first of which ends with a number
    released: list[WindowText] = []
    seen: list[int] = []

    async def windows() -> AsyncGenerator[StageAdvanced | WindowText, None]:
        for text in (window("my card is 4111 1111"), window("1111 1111", at=20), window(LONG, at=40)):
            yield text
            seen.append(len(released))

    # When they come one after the other
    async for item in redactor("card").recording(windows()):
        assert isinstance(item, WindowText)
        released.append(item)
    # Then the first two wait for the third, and progress in between does not
    assert seen == [0, 0, 2]
    assert said(released)[:2] == ["my card is [CARD]", "[CARD]"]
    progress = StageAdvanced(stage=Stage.TRANSCRIBING, processed_seconds=20.0, duration_seconds=60.0)
    items = [item async for item in redactor("card").recording(of([window("hello"), progress]))]
    assert items[0] == progress


async def test_text_does_not_wait_for_ever() -> None:
    # Given somebody who reads digits for many windows
    windows = [window("1 2 3 4", at=20.0 * number) for number in range(MAX_HELD + 3)]
    released: list[int] = []
    count = 0

    async def reading() -> AsyncGenerator[StageAdvanced | WindowText, None]:
        for text in windows:
            yield text
            released.append(count)

    texts = list[WindowText]()
    async for item in redactor("number").recording(reading()):
        assert isinstance(item, WindowText)
        texts.append(item)
        count += 1
    # Then only so many wait, and nothing of them is plain
    assert released[-1] == len(windows) - MAX_HELD
    assert set(said(texts)) == {"[NUMBER]"}
    assert len(texts) == len(windows)


async def test_equal_values_have_one_number_in_all_windows() -> None:
    windows = [
        window(f"call 555 123 45 67, or 555 987 65 43. {LONG}"),
        window(f"again: five five five, one two three, four five, six seven. {LONG}", at=20),
    ]
    texts = await recording(redactor("phone", replace="numbered"), *windows)
    assert [[entity.number for entity in text.entities] for text in texts] == [[1, 2], [1]]


async def test_parts_of_a_number_are_one_value_although_the_first_are_released() -> None:
    # Given a number that goes on over more windows than wait for others
    parts = [window("one two", at=20 * number) for number in range(1, MAX_HELD + 4)]
    texts = await recording(redactor("phone", replace="numbered"), window("my phone is five five five"), *parts)
    # Then each part has the same number
    assert said(texts) == ["my phone is [PHONE_1]", *["[PHONE_1]"] * len(parts)]


async def test_new_values_have_other_numbers_than_a_channel_from_the_cache() -> None:
    new = redactor("phone", replace="numbered")
    new.number_after([SpokenEntity(type=EntityType.PHONE, start=0, end=1, score=1, number=3)])
    assert said(await recording(new, window("call 555 123 4567"))) == ["call [PHONE_4]"]


async def test_another_worker_continues_the_numbers_of_the_checkpoint() -> None:
    # Given a checkpoint with three values, and words that announce a number at its end
    before = segment("call [PHONE_3], and my security code is", 0)
    entities = tuple(SpokenEntity(type=EntityType.PHONE, start=0, end=1, score=1, number=n) for n in (1, 3, 2))
    checkpoint = Checkpoint(segments=(before,), entities=entities)
    resumed = redactor("phone", "card", replace="numbered", checkpoint=checkpoint)
    # When a worker continues after it
    texts = await recording(resumed, window("123. Or call 555 123 45 67."))
    # Then new values get new numbers, and words before the checkpoint count
    assert said(texts) == ["[CARD_1]. Or call [PHONE_4]."]


async def test_live_text_is_redacted_with_the_turns_before_it() -> None:
    # Given a card number over three live turns, one of which somebody else speaks
    live = redactor("card", replace="numbered")
    turns = [
        "what is your card number?",
        "four one one one, one one one one",
        "okay.",
        "one one one one, two two two two",
    ]
    texts = [await live.live(window(turn, at=10.0 * number)) for number, turn in enumerate(turns)]
    # Then the beginning is replaced although more follows, and the rest is the same value
    assert said(texts) == ["what is your card number?", "[CARD_1]", "okay.", "[CARD_1]"]


@pytest.mark.parametrize("text", ["it costs 450", "in the year 2020", "we are 3", "it was 10:30"])
async def test_not_each_number_at_the_end_of_a_live_turn_is_the_beginning_of_a_card(text: str) -> None:
    assert said([await redactor("pci").live(window(text))]) == [text]


async def test_a_preview_is_what_the_live_text_will_be_and_changes_nothing() -> None:
    live = redactor("phone", replace="numbered")
    await live.live(window("call 555 123 45 67"))
    # Given previews of an utterance that becomes longer
    text = window("or call 555 987 65 43 now")
    assert said([await live.preview(window("or call 555 987 65"))]) == ["or call [PHONE_2]"]
    preview = await live.preview(text)
    # Then its final text is that of the last one
    assert await live.live(text) == preview
    assert said([preview]) == ["or call [PHONE_2] now"]


async def test_a_name_over_two_windows_and_its_parts_in_later_ones_have_one_number() -> None:
    # Given an engine that finds a name, of which one window ends with the first part
    engine = FakeEngine()
    engine.names = ["Ada Quill", "Quill", "Bo"]
    windows = [window("I am Ada"), window(f"Quill. {LONG}", at=20), window("Bo called Quill", at=80)]
    # When a recording and live audio have it
    texts = await recording(redactor("person", replace="numbered", engine=engine), *windows)
    live = redactor("person", replace="numbered", engine=engine)
    spoken = [await live.live(window("Bo is here")), await live.live(window("and Ada Quill", at=10))]
    # Then each person has one number
    assert said(texts) == ["I am [PERSON_1]", f"[PERSON_1]. {LONG}", "[PERSON_2] called [PERSON_1]"]
    assert said([await live.preview(window("Bo and Quill", at=20))]) == ["[PERSON_1] and [PERSON_2]"]
    assert said(spoken) == ["[PERSON_1] is here", "and [PERSON_2]"]


async def test_names_are_looked_for_only_on_request() -> None:
    engine = FakeEngine()
    await recording(redactor("phone", engine=engine), window("Ada said: 555 123 45 67"))
    assert engine.received == []


async def test_nothing_of_a_window_is_released_if_the_search_for_names_fails() -> None:
    class Broken(FakeEngine):
        async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
            if isinstance(job, FindPersons):
                raise TransientError(ErrorCode.ENGINE_FAILED, "the process died")
            async for reply in super().run(job):
                yield reply

    with pytest.raises(TransientError):
        await recording(redactor("all", engine=Broken()), window("Ada said: 555 123 45 67"))


@pytest.mark.parametrize(
    ("entities", "languages", "options", "warned"),
    [
        (["person"], {"en": 9.0, "de": 3.0, "fr": 1.0}, {}, "de, fr"),
        (["all"], {"de": 3.0}, {}, "de"),
        (["all"], {"de": 3.0}, {"translate": True}, ""),
        (["pci"], {"de": 3.0}, {}, ""),
        (["all"], {"en": 3.0, "ru": 2.0}, {}, ""),
    ],
)
def test_a_result_warns_of_languages_in_which_no_names_are_found(
    entities: list[str], languages: dict[str, float], options: dict[str, object], warned: str
) -> None:
    fields: dict[str, object] = {"task_id": "t", "audio_file_id": "a", "user_id": 1, "redact": {"entities": entities}}
    found = warnings_of(TranscriptionTask.model_validate(fields | options), languages)
    assert [bool(warned)] * len(found) == [True] * bool(warned)
    assert all(f" {warned}:" in message for message in found)


async def test_an_address_that_begins_in_one_segment_and_ends_in_the_next_is_replaced_in_both() -> None:
    texts = await recording(redactor("email"), window("write to john dot smith at", "gmail dot com please"))
    assert said(texts) == ["write to [EMAIL]", "[EMAIL] please"]


@pytest.mark.parametrize(
    ("language", "of_task", "translate", "spoken"),
    [
        ("de", None, False, "null eins sieben null, eins zwei drei vier fünf"),
        (None, "de", False, "null eins sieben null, eins zwei drei vier fünf"),
        ("de", None, True, "zero one seven zero, one two three four five"),
        ("ru", None, False, "восемь девятьсот шестнадцать сто двадцать три сорок пять шестьдесят семь"),
        (None, None, False, "восемь девятьсот шестнадцать сто двадцать три сорок пять шестьдесят семь"),
    ],
)
async def test_numbers_are_read_in_the_language_of_the_text(
    language: str | None, of_task: str | None, translate: bool, spoken: str
) -> None:
    german = redactor("phone", language=of_task, translate=translate)
    assert said(await recording(german, window(spoken, language=language))) == ["[PHONE]"]


async def test_segments_without_words_have_the_times_of_the_segment() -> None:
    text = window("call 555 123 45 67")
    (plain,) = text.segments
    without = text.model_copy(update={"segments": [plain.model_copy(update={"words": None})]})
    (redacted,) = await recording(redactor("phone", replace="mask"), without)
    assert redacted.segments[0].text == "call ####"
    assert [(entity.start, entity.end) for entity in redacted.entities] == [(plain.start, plain.end)]
