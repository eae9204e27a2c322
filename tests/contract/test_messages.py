"""Messages: which ones are accepted or refused, and their JSON."""

import json
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from natscribe.client.submission import DiarizationKeywords, TranscriptionKeywords
from natscribe.schemas.diarization import DiarizationTask
from natscribe.schemas.errors import MAX_MESSAGE_CHARS, ErrorCode, ErrorDetail
from natscribe.schemas.examples import EXAMPLES
from natscribe.schemas.live import LiveKeywords, LiveTask
from natscribe.schemas.printable import printable
from natscribe.schemas.problems import problems_of
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import ReplayRequest
from natscribe.schemas.transcription import TranscribeKeywords, TranscribeOptions, TranscriptionTask
from natscribe.schemas.voices import Consent, EnrollRequest
from natscribe.schemas.wire import Input, Kind
from pydantic import ValidationError

LEAST = {"task_id": "t1", "audio_file_id": "a.wav", "user_id": 1}


@pytest.mark.parametrize("shape", [TranscriptionTask, DiarizationTask])
@pytest.mark.parametrize(
    "change",
    [
        {"task_id": ""},
        {"task_id": "a.b"},
        {"task_id": "a b"},
        {"task_id": "ü"},
        {"task_id": "a" * 65},
        {"task_id": "t1\n"},
        {"task_id": None},
        {"audio_file_id": ""},
        {"audio_file_id": "a\x00b"},
        {"audio_file_id": "a" * 1025},
        {"user_id": ""},
        {"user_id": "a" * 65},
        {"user_id": "a\n"},
        {"user_id": True},
        {"user_id": 1.5},
        {"user_id": 2**63},
        {"min_speakers": 0},
        {"min_speakers": 3, "max_speakers": 2},
        {"unknown": 1},
    ],
)
def test_an_invalid_task_is_refused(shape: type[TranscriptionTask], change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        shape.model_validate(LEAST | change)


@pytest.mark.parametrize("user_id", [-(2**63), 2**63 - 1, "1", "Юля", "a" * 64])
def test_a_user_is_a_number_or_a_name(user_id: int | str) -> None:
    # Given a task of a user, when it is read, then the user has the same value and type
    task = TranscriptionTask.model_validate_json(json.dumps(LEAST | {"user_id": user_id}))
    assert task.user_id == user_id
    assert type(task.user_id) is type(user_id)


OPTIONS = {
    "model": "large-v3",
    "language": "yue",
    "vocabulary": ["Natscribe", "Łódź " + "a" * 55],
    "prompt": "p" * 800,
    "translate": True,
    "channels": "separate",
    "numbers": "digits",
    "redact": {"entities": ["pci", "phone"], "replace": "mask", "partials": True},
}


def test_the_options_of_a_task_are_read_from_json_and_from_python() -> None:
    # Given a task with every option, when it is read from JSON and from a dictionary
    read = TranscriptionTask.model_validate_json(json.dumps(LEAST | OPTIONS))
    assert TranscriptionTask.model_validate(LEAST | OPTIONS) == read

    # Then its options are complete, and can be serialized
    options = read.options
    assert options.model_dump(mode="json") == OPTIONS
    assert TranscribeOptions.model_validate_json(options.model_dump_json()) == options
    assert set(TranscribeOptions.model_fields) == set(OPTIONS)


def test_the_keywords_of_a_typed_call_are_the_options() -> None:
    assert set(TranscribeKeywords.__annotations__) == set(TranscribeOptions.model_fields)
    for keywords, task in ((TranscriptionKeywords, TranscriptionTask), (DiarizationKeywords, DiarizationTask)):
        assert set(keywords.__annotations__) == set(task.model_fields) - {"audio_file_id"}
    assert set(LiveKeywords.__annotations__) == set(LiveTask.model_fields) - {"task_id", "audio"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vocabulary": ["a", "x" * 61]}, "vocabulary.1: String should have at most 60 characters"),
        ({"vocabulary": ["a\tb"]}, "vocabulary.0: write letters, without control characters such as tabs"),
        ({"vocabulary": ["a"] * 101}, "vocabulary: Tuple should have at most 100 items after validation, not 101"),
        ({"vocabulary": "Natscribe"}, "vocabulary: Input should be a valid tuple"),
        ({"prompt": "x" * 801}, "prompt: String should have at most 800 characters"),
        ({"channels": "left"}, "channels: Input should be 'auto', 'mix' or 'separate'"),
        ({"numbers": "words"}, "numbers: Input should be 'as_is' or 'digits'"),
        ({"translate": 1}, "translate: Input should be a valid boolean"),
        ({"audio_file_id": "a\tb"}, "audio_file_id: use no control characters, such as tabs"),
        ({"langauge": "en"}, "langauge: there is no such field, did you mean language?"),
        ({"x" * 200: 1}, f"{'x' * 100}: there is no such field, leave it out"),
        ({"поле": 1}, r"\u043f\u043e\u043b\u0435: there is no such field, leave it out"),
        ({"\x1b[2J\n\x9c\u202e": 1}, r"\x1b[2J\n\x9c\u202e: there is no such field, leave it out"),
        ({"user_id": ""}, "user_id: use an integer of 64 bits, or 1 to 64 characters, no control characters"),
    ],
)
def test_an_invalid_option_is_named_with_the_allowed_values(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        TranscriptionTask.model_validate(LEAST | change)
    assert problems_of(wrong.value) == words


def test_an_error_repeats_foreign_text_without_what_a_terminal_acts_on() -> None:
    # Given the name of a recording that would set the title of a terminal and reorder the line
    error = ErrorDetail(code=ErrorCode.AUDIO_NOT_FOUND, message="No recording is named '\x1b]0;x\x07\u202e\n'.")
    # Then the error has it escaped, and is limited in size
    assert error.message == r"No recording is named '\x1b]0;x\x07\u202e\n'."
    assert ErrorDetail(code=ErrorCode.INTERNAL, message="x" * 10_000).message == "x" * MAX_MESSAGE_CHARS


def test_all_characters_but_commands_to_a_terminal_are_printable() -> None:
    text = "запись №5 · ü 日本 👩\u200d🚀 \N{NO-BREAK SPACE}\\x1b"
    assert printable(text) == text
    assert printable("a\tb\r\n\x7f\x9b\u2066\ud83d") == r"a\tb\r\n\x7f\x9b\u2066\ud83d"
    assert printable("a\tb\r\n", keep="\n\t") == "a\tb\\r\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-02-29T12:00:00Z", datetime(2020, 2, 29, 12, tzinfo=UTC)),
        ("2026-01-01t15:00:00.25+03:00", datetime(2026, 1, 1, 12, 0, 0, 250_000, UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),  # a leap second is the second after it
        ("2016-12-31t15:59:60.25-08:00", datetime(2017, 1, 1, 0, 0, 0, 250_000, UTC)),
    ],
)
def test_a_task_may_start_at_a_time_with_a_zone(text: str, expected: datetime) -> None:
    assert DiarizationTask.model_validate(LEAST | {"not_before": text}).not_before == expected
    assert TranscriptionTask.model_validate(LEAST | {"not_before": expected}).not_before == expected
    assert Consent.model_validate_json(json.dumps({"by": "Anna", "at": text})).at == expected


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01T12:00:00",  # no zone
        "2026-01-01 12:00:00Z",
        "2026-02-30T12:00:00Z",
        "1795595445",
        1795595445.0,
        True,
        "tomorrow",
        "9999-12-31T23:59:59-12:00",
        "2026-01-01T12:00:60Z",  # no leap second: these end a day
        "2026-01-01T23:59:61Z",
        "2999-01-01T00:00:00Z",
    ],
)
def test_an_invalid_start_is_refused_with_what_is_allowed(value: object) -> None:
    with pytest.raises(ValidationError) as error:
        TranscriptionTask.model_validate(LEAST | {"not_before": value})
    advice = "write a time with its zone as in RFC 3339, like 2026-11-24T18:40:44Z, at most a year ahead"
    assert problems_of(error.value) == f"not_before: {advice}"


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-12:00", "9999-12-31T23:59:60Z", "2026-01-01T12:00:60Z"])
def test_an_impossible_time_of_a_consent_is_refused(at: str) -> None:
    with pytest.raises(ValidationError) as error:
        Consent.model_validate_json(json.dumps({"by": "Anna", "at": at}))
    assert problems_of(error.value).startswith("at: ")


def test_a_live_task_starts_at_once() -> None:
    with pytest.raises(ValidationError):
        LiveTask.model_validate({"task_id": "t1", "user_id": 1, "not_before": "2026-01-01T12:00:00Z"})


def test_up_to_five_problems_are_reported() -> None:
    wrong = {"task_id": "", "translate": 1, "diarize": 1, "identify": 1, "word_timestamps": 1, "user_id": ""}
    with pytest.raises(ValidationError) as error:
        TranscriptionTask.model_validate(LEAST | wrong)
    *described, more = problems_of(error.value).split("; ")
    boolean = "Input should be a valid boolean"
    assert sorted(described) == [
        f"diarize: {boolean}",
        f"identify: {boolean}",
        "task_id: use letters, digits, - and _, at most 64",
        f"translate: {boolean}",
        "user_id: use an integer of 64 bits, or 1 to 64 characters, no control characters",
    ]
    assert more == "and 1 more"


def received(of: type[Input] = Input) -> Iterator[type[Input]]:
    """All classes of messages that the service receives, and of their parts."""
    for model in of.__subclasses__():
        yield model
        yield from received(model)


PARTS: dict[str, dict[str, object]] = {  # of messages, and bases of them: these have no examples in the document
    "LiveAudio": {},
    "SubtitleLimits": {},
    "TranscribeOptions": {},
    "SpeakerBounds": {},
    "Redaction": {"entities": ["pci"]},
    "TaskRedaction": {"entities": ["pci"]},
    "SearchRequest": {"query": "word"},  # of services/search
    "TranscriptRequest": {"task_id": "t1"},
    "TaskIdentity": LEAST,
    "RecordingTaskFields": LEAST,
    "LiveTaskIdentity": {"task_id": "t1", "user_id": 1},
    "DeadLetterChoice": {"task_id": "t1"},
    "Consent": {"by": "Anna", "at": "2026-11-24T09:30:00Z"},
    "Window": {"regions": [[0, 1]], "samples": ""},
}


@pytest.mark.parametrize("model", sorted(set(received()), key=str))
def test_null_means_the_default_of_each_field_that_has_one(model: type[Input]) -> None:
    def outcome(message: dict[str, object]) -> object:
        try:
            return model.model_validate_json(json.dumps(message))
        except ValidationError as error:
            return problems_of(error)

    # Given a valid message
    valid = EXAMPLES[model.__name__][0].payload if model.__name__ in EXAMPLES else PARTS[model.__name__]
    assert isinstance(valid, dict)
    schema = Draft202012Validator(model.model_json_schema(mode="serialization"))
    for name, field in model.model_fields.items():
        # When a field of it is null
        null, without = valid | {name: None}, {key: value for key, value in valid.items() if key != name}
        # Then the field has its default, in the service and in the document; a required field is missing
        if field.is_required():
            assert isinstance(outcome(null), str)
            assert not schema.is_valid(null)
        else:
            assert outcome(null) == outcome(without)
            assert schema.is_valid(null)


def test_names_may_be_in_any_script() -> None:
    name = "запись 1 (ü).m4a\u00a0"  # the first character behind the control characters is a space
    task = TranscriptionTask.model_validate(LEAST | {"audio_file_id": name, "user_id": name, "vocabulary": [name]})
    assert (task.audio_file_id, task.user_id, task.vocabulary) == (name, name, (name,))


@pytest.mark.parametrize("control", ["\0", "\x1b", "\x7f", "\x80", "\x9b", "\x9f"])
@pytest.mark.parametrize("field", ["audio_file_id", "user_id", "vocabulary"])
def test_names_have_no_control_characters(field: str, control: str) -> None:
    # terminals interpret these as commands: U+009B is the short form of ESC [
    name = f"a{control}31mb"
    wrong = LEAST | {field: [name] if field == "vocabulary" else name}
    with pytest.raises(ValidationError):
        TranscriptionTask.model_validate(wrong)
    # and the schema refuses them, too
    assert list(Draft7Validator(TranscriptionTask.model_json_schema()).iter_errors(wrong))


def test_times_are_utc_and_readers_ignore_unknown_fields() -> None:
    noon = datetime(2026, 1, 1, 15, tzinfo=timezone(timedelta(hours=3)))
    event = ProgressEvent(
        task_id="t1", kind=Kind.TRANSCRIPTION, state=State.QUEUED, max_attempts=4, sequence=1, time=noon
    )
    wire = json.loads(event.model_dump_json())
    assert wire["time"] == "2026-01-01T12:00:00Z"
    assert ProgressEvent.model_validate(wire | {"new": "field"}) == event
    assert event.time.tzinfo is UTC


def test_a_value_of_a_later_version_is_read_like_the_others_and_can_be_pickled() -> None:
    # Given an event with a state and a stage that this version does not know
    later = {"state": "paused", "stage": "waiting", "kind": "diarization", "max_attempts": 4, "sequence": 1}
    event = ProgressEvent.model_validate(later | {"task_id": "t1", "time": "2026-01-01T12:00:00Z"})
    # When it is pickled, as a process pool does, then it is the same event, and its values have no meaning
    copy = pickle.loads(pickle.dumps(event))  # noqa: S301 -- its own pickle
    assert copy == event
    assert (copy.state, copy.state.meaning, str(copy.stage)) == ("paused", "", "waiting")
    assert pickle.loads(pickle.dumps(State.QUEUED)) is State.QUEUED  # noqa: S301 -- as above


@pytest.mark.parametrize("request_", [{}, {"task_id": "t", "kind": "diarization"}, {"kind": "x"}, {"code": "x"}])
def test_a_replay_has_exactly_one_condition(request_: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ReplayRequest.model_validate(request_)


INVISIBLE = ["", " ", "\u00a0", "\u200b", "\u200f", "\ufeff", "\u3164", "\u0301", "\ufe0f", "\ue000", " \u200f\ufeff "]
VISIBLE = ["A", "\u5b89\u5a1c", "\u0623\u0646\u0627", "\u200fA", "e\u0301", "7", "!", "\U0001f600", "A" * 64]


@pytest.mark.parametrize("name", VISIBLE + INVISIBLE)
def test_a_name_has_a_visible_character(name: str) -> None:
    for by, called in ((name, "Anna"), ("Anna", name)):
        consent = {"by": by, "at": "2026-11-24T09:30:00Z"}
        body = json.dumps({"user_id": 7, "task_id": "call", "name": called, "consent": consent})
        if name in VISIBLE:
            EnrollRequest.model_validate_json(body)
        else:
            with pytest.raises(ValidationError):
                EnrollRequest.model_validate_json(body)


@pytest.mark.parametrize(("seconds", "is_valid"), [(-1, True), (30, True), (90, False)])
def test_a_consent_was_given_already_but_clocks_may_differ(seconds: int, is_valid: bool) -> None:
    consent = {"by": "Anna", "at": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()}
    body = json.dumps({"user_id": 7, "task_id": "call", "name": "Anna", "consent": consent})
    if is_valid:
        EnrollRequest.model_validate_json(body)
    else:
        with pytest.raises(ValidationError) as error:
            EnrollRequest.model_validate_json(body)
        assert (
            problems_of(error.value)
            == "consent: `at` is in the future: give the time of the consent, and check the clock"
        )
