"""The index of `services/search`: what a query finds, and what an erasure leaves."""

# ruff: noqa: RUF001 -- words of Russian

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from natscribe.schemas.search import MAX_SEGMENTS, Hit, SearchRequest, TranscriptRequest
from natscribe.schemas.transcription import Segment, TranscriptionResult
from natscribe.schemas.voices import SpeakerVoice

from services.search.index import Index, WrongIndexError
from services.search.words import TOKENIZER, expression, register
from tests.fakes.messages import transcript

VOICE = "a" * 32
NOW = 1_790_000_000.0


def result(task_id: str, *texts: str, at: float = NOW, language: str = "en", **fields: object) -> TranscriptionResult:
    segments = [
        Segment(start=number, end=number + 1, text=text, language=language, speaker=f"SPEAKER_0{number % 2}")
        for number, text in enumerate(texts)
    ]
    made = transcript(task_id=task_id, segments=segments)
    return made.model_copy(update={"created_at": datetime.fromtimestamp(at, UTC)} | fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search.db"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    opened = Index(path)
    yield opened
    opened.close()


def add(index: Index, *results: TranscriptionResult) -> None:
    index.add([(one, one.created_at.timestamp() + 1) for one in results])


def hits(index: Index, query: str, **fields: object) -> list[Hit]:
    return index.search(SearchRequest.model_validate({"query": query} | fields)).hits


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("We have paid two invoices.", "invoice"),
        ("We have paid two invoices.", "INVOICES paid"),
        ("We have paid two invoices.", '"two invoice"'),
        ("We have paid two invoices.", "inv*"),
        ("We have paid two invoices.", "invoices*"),
        ("Мы оплатили оба счёта вчера.", "счет"),
        ("Мы оплатили оба счета вчера.", "счёта"),
        ("Мы оплатили оба счёта вчера.", "оплат*"),
        ("Ein Café in Köln", "cafe koln"),
        ("It's e-mail no. 42.", "e-mail 42"),
        ("会議 は 今日", "会議"),
    ],
)
def test_a_query_finds_words_in_other_forms(index: Index, text: str, query: str) -> None:
    add(index, result("t1", "something else", text), result("t2", "nothing of it"))
    assert [(hit.task_id, hit.segment, hit.text) for hit in hits(index, query)] == [("t1", 1, text)]


@pytest.mark.parametrize("query", ["invoice unpaid", '"invoices two"', "invoicing1*", "voices", "*", '"', "( ) OR"])
def test_a_query_finds_nothing_that_lacks_one_of_its_words(index: Index, query: str) -> None:
    add(index, result("t1", "We have paid two invoices."))
    assert hits(index, query) == []


@given(st.text(max_size=30))
def test_no_query_is_wrong(query: str) -> None:
    # Given an index that only has the tokenizer
    connection = apsw.Connection(":memory:")
    register(connection)
    connection.execute(f"CREATE VIRTUAL TABLE t USING fts5 (text, tokenize = '{TOKENIZER}')")
    # When anything is searched in it, then SQLite reads the expression
    if match := expression(query):
        assert connection.execute("SELECT * FROM t WHERE t MATCH ?", (match,)).fetchall() == []


def test_marks_are_where_the_words_are(index: Index) -> None:
    add(index, result("t1", "Ещё раз: счёт, потом Счета."))
    (hit,) = hits(index, "счет")
    assert [hit.text[start:end] for start, end in hit.marks] == ["счёт", "Счета"]


def test_hits_are_filtered(index: Index) -> None:
    # Given transcripts of two users in two languages, one with an enrolled voice
    voices = {"SPEAKER_01": SpeakerVoice(voice=VOICE, name=None, score=0.7)}
    add(
        index,
        result("t1", "word", "word", user_id=7),
        result("t2", "word", "word", user_id="7", at=NOW + 100, language="ru"),
        result("t3", "word", "word", user_id=8, at=NOW + 200, voices=voices),
    )

    def found(**fields: object) -> list[str]:
        return [f"{hit.task_id}.{hit.segment}" for hit in hits(index, "word", **fields)]

    # Then the newest is first, and each filter leaves its own
    assert found() == ["t3.1", "t3.0", "t2.1", "t2.0", "t1.1", "t1.0"]
    assert found(user_id=7) == ["t1.1", "t1.0"]
    assert found(user_id="7") == ["t2.1", "t2.0"]
    assert found(language="ru") == ["t2.1", "t2.0"]
    assert found(speaker="SPEAKER_01", user_id=8) == ["t3.1"]
    assert found(voice=VOICE) == ["t3.1"]
    times = [datetime.fromtimestamp(NOW + seconds, UTC).isoformat() for seconds in (100, 200)]
    assert found(since=times[0], until=times[1]) == ["t2.1", "t2.0"]


def test_pages_have_each_hit_once(index: Index) -> None:
    add(index, *(result(f"t{number}", *["word"] * 3) for number in range(7)))
    seen, after = list[tuple[str, int]](), 0
    while True:
        page = index.search(SearchRequest(query="word", limit=4, after=after))
        seen += [(hit.task_id, hit.segment) for hit in page.hits]
        if page.more_after is None:
            break
        after = page.more_after
    assert seen == [(f"t{number}", segment) for number in reversed(range(7)) for segment in (2, 1, 0)]


def test_a_transcript_is_read_by_time_and_speaker(index: Index) -> None:
    add(index, result("t1", *[f"number {number}" for number in range(MAX_SEGMENTS + 5)], user_id="Anna"))

    def read(**fields: object) -> list[int]:
        found = index.transcript(TranscriptRequest.model_validate({"task_id": "t1"} | fields))
        assert found is not None
        assert found.user_id == "Anna"
        assert found.more_after == (MAX_SEGMENTS if len(found.segments) == MAX_SEGMENTS else None)
        return [segment.segment for segment in found.segments]

    assert read(start=2.5, end=5.0) == [2, 3, 4]
    assert read(end=5.0, speaker="SPEAKER_01") == [1, 3]
    assert read() == list(range(MAX_SEGMENTS))
    assert read(after=MAX_SEGMENTS) == list(range(MAX_SEGMENTS, MAX_SEGMENTS + 5))
    assert index.transcript(TranscriptRequest(task_id="t2")) is None


def test_a_result_that_comes_again_is_there_once(index: Index) -> None:
    add(index, result("t1", "first"), result("t2", "first"))
    add(index, result("t1", "second"))
    assert [hit.task_id for hit in hits(index, "first")] == ["t2"]
    assert [hit.task_id for hit in hits(index, "second")] == ["t1"]


def test_an_erased_transcript_leaves_no_byte_in_the_files(index: Index, path: Path) -> None:
    # Given many transcripts, one of which has words of its own
    add(index, *(result(f"t{number}", f"ordinary words {number}") for number in range(300)))
    add(index, result("secret", "Xanthippe said zyzzyva", *["Xanthippe"] * 200))
    assert any(b"zyzzyva" in file.read_bytes() for file in path.parent.iterdir())
    # When it is erased
    index.erase("secret", NOW + 10)
    # Then nothing finds it, no file has it, and the others are still there
    assert hits(index, "zyzzyva") == []
    left = b"".join(file.read_bytes().lower() for file in path.parent.iterdir())
    assert [mark for mark in (b"zyzzyva", b"xanthipp") if mark in left] == []
    assert len(hits(index, "ordinary", limit=50)) == 50


def test_a_result_that_was_erased_before_it_was_indexed_stays_away(index: Index) -> None:
    # Given an erasure that was read before the result
    index.erase("t1", NOW + 10)
    # When the result comes, then it is not indexed; that of a later task with the id is
    index.add([(result("t1", "word"), NOW + 5)])
    assert hits(index, "word") == []
    index.add([(result("t1", "word", at=NOW + 20), NOW + 21)])
    assert [hit.task_id for hit in hits(index, "word")] == ["t1"]
    # And that task outlives the old erasure when it comes again
    index.erase("t1", NOW + 10)
    assert [hit.task_id for hit in hits(index, "word")] == ["t1"]


def test_a_forgotten_voice_leaves_its_text(index: Index, path: Path) -> None:
    voices = {"SPEAKER_00": SpeakerVoice(voice=VOICE, name=None, score=0.7)}
    add(index, result("t1", "word", voices=voices))
    index.forget(VOICE)
    add(index, result("t2", "word", voices=voices))  # a result from before
    assert hits(index, "word", voice=VOICE) == []
    assert [hit.voice for hit in hits(index, "word")] == [None, None]


def test_what_is_no_index_of_this_version_is_refused_with_a_sentence(path: Path, tmp_path: Path) -> None:
    Index(path).close()
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 99)
    connection.close()
    with pytest.raises(WrongIndexError, match="rebuild"):
        Index(path)
    other = tmp_path / "notes.txt"
    other.write_text("no database " * 100)
    with pytest.raises(WrongIndexError, match="SEARCH_INDEX"):
        Index(other)
    assert other.read_text().startswith("no database")
