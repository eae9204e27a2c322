"""The index: one SQLite file, with a row for each segment."""

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import apsw
from natscribe.schemas.search import (
    MAX_SEGMENTS,
    Hit,
    IndexedSegment,
    SearchPage,
    SearchRequest,
    Transcript,
    TranscriptRequest,
)
from natscribe.schemas.transcription import TranscriptionResult

from services.search.words import TOKENIZER, expression, register

_VERSION: Final = 1
_SCHEMA: Final = f"""
CREATE TABLE results (id INTEGER PRIMARY KEY, task TEXT UNIQUE NOT NULL, user TEXT NOT NULL, created REAL NOT NULL,
  first INTEGER NOT NULL, past INTEGER NOT NULL);
CREATE INDEX results_by_first ON results (first);
CREATE TABLE erased (task TEXT PRIMARY KEY, stored REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE forgotten (voice TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE VIRTUAL TABLE segments USING fts5 (
  text, tags, number UNINDEXED, start UNINDEXED, end UNINDEXED, speaker UNINDEXED, voice UNINDEXED,
  tokenize = '{TOKENIZER}', columnsize = 0);
INSERT INTO segments (segments, rank) VALUES ('secure-delete', 1);
PRAGMA user_version = {_VERSION};
"""  # noqa: S608 -- of constants
_HITS: Final = """
SELECT segments.rowid, results.task, results.user, results.created, number, start, end, speaker, voice,
  snippet(segments, 0, char(2), char(3), '…', 60)
FROM segments JOIN results ON results.id =
  (SELECT id FROM results WHERE first <= segments.rowid ORDER BY first DESC LIMIT 1)
WHERE coalesce(?, user) = user AND coalesce(?, voice) IS voice AND segments MATCH ?
  AND segments.rowid < ? AND segments.rowid >= ? AND created >= ? AND created < ?
ORDER BY segments.rowid DESC LIMIT ?
"""
_MARK: Final = re.compile("[\x02\x03]")
_ALL: Final = 2**63 - 1


class WrongIndexError(Exception):
    """The index cannot be used; the message says what to do."""


class Index:
    """Transcripts in one file, in which threads may search while one of them writes."""

    def __init__(self, path: Path) -> None:
        """Open or create the index.

        Raises:
            WrongIndexError: The file is no index, or one of another version.
        """
        try:
            self._writer, self._reader = self._open(path), self._open(path)
        except apsw.NotADBError:
            message = f"{path} is no index of transcripts: name another file in SEARCH_INDEX."
            raise WrongIndexError(message) from None
        self._writing, self._reading = threading.Lock(), threading.Lock()

    def _open(self, path: Path) -> apsw.Connection:
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(10_000)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        register(connection)
        version = connection.pragma("user_version")
        if version == 0:
            with connection:
                connection.execute(_SCHEMA)
        elif version != _VERSION:
            message = f"{path} is an index of another version: run `python -m services.search.rebuild`."
            raise WrongIndexError(message)
        return connection

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        self._writer.close()

    def add(self, results: Sequence[tuple[TranscriptionResult, float]]) -> None:
        """Add transcripts, each with the time when it was stored; all are in the file when this returns.

        A transcript replaces that of an earlier task with the same id, and one that was erased since is not added.
        """
        with self._transaction() as sql:
            for result, stored in results:
                erased = sql.execute("SELECT stored FROM erased WHERE task = ?", (result.task_id,)).get
                if erased is None or erased < stored:
                    self._delete(result.task_id)
                    self._insert(result)

    def erase(self, task_id: str, stored: float) -> None:
        """Erase the transcript of a task that was indexed before; `stored`: when the event was, in seconds since 1970.

        Nothing of it is in the file when this returns.
        """
        with self._transaction() as sql:
            sql.execute("INSERT OR REPLACE INTO erased VALUES (?, ?)", (task_id, stored))
            created = sql.execute("SELECT created FROM results WHERE task = ?", (task_id,)).get
            if created is not None and created <= stored:
                self._delete(task_id)
        self._truncate()

    def forget(self, voice: str) -> None:
        """Erase an enrolled voice from all segments, whose text stays."""
        with self._transaction() as sql:
            sql.execute("INSERT OR REPLACE INTO forgotten VALUES (?)", (voice,))
            rows = sql.execute(
                "SELECT rowid, tags FROM segments WHERE segments MATCH ?", (f"tags : {_tag('v', voice)}",)
            ).fetchall()
            for rowid, tags in rows:
                left = " ".join(tag for tag in str(tags).split() if tag != _tag("v", voice))
                sql.execute("UPDATE segments SET voice = NULL, tags = ? WHERE rowid = ?", (left, rowid))
        self._truncate()

    def search(self, request: SearchRequest) -> SearchPage:
        """Return the hits of a request, the newest result first."""
        words = expression(request.query)
        if not words:
            return SearchPage(hits=[], more_after=None)
        wanted = {"u": _user(request.user_id), "l": request.language, "s": request.speaker, "v": request.voice}
        tags = [_tag(kind, value) for kind, value in wanted.items() if value is not None]
        match = " AND ".join([f"text : ({words})", *(f"tags : {tag}" for tag in tags)])
        since = request.since.timestamp() if request.since else 0.0
        until = request.until.timestamp() if request.until else float(_ALL)
        with self._reading:
            first = self._reader.execute("SELECT min(first) FROM results WHERE created >= ?", (since,)).get
            past = self._reader.execute("SELECT max(past) FROM results WHERE created < ?", (until,)).get
            bounds = (min(request.after or _ALL, past or 0), first or 0, since, until, request.limit + 1)
            exact = (_user(request.user_id), request.voice)
            rows: list[Any] = self._reader.execute(_HITS, (*exact, match, *bounds)).fetchall()  # `Any`: what SQLite has
        hits = [_hit(row) for row in rows[: request.limit]]
        more = int(rows[request.limit - 1][0]) if len(rows) > request.limit else None
        return SearchPage(hits=hits, more_after=more)

    def transcript(self, request: TranscriptRequest) -> Transcript | None:
        """Return segments of a transcript; None: there is no transcript of this task."""
        with self._reading:
            found: list[Any] = self._reader.execute(
                "SELECT user, created, first, past FROM results WHERE task = ?", (request.task_id,)
            ).fetchall()
            if not found:
                return None
            ((user, created, first, past),) = found
            rows = self._reader.execute(
                "SELECT number, start, end, speaker, text FROM segments WHERE rowid >= ? AND rowid < ? AND end > ?"
                " AND start < ? AND coalesce(?, speaker) IS speaker ORDER BY rowid LIMIT ?",
                (first + request.after, past, request.start, request.end or float(_ALL), request.speaker, MAX_SEGMENTS),
            ).fetchall()
        names = ("segment", "start", "end", "speaker", "text")
        segments = [IndexedSegment.model_validate(dict(zip(names, row, strict=True))) for row in rows]
        more = segments[-1].segment + 1 if len(segments) == MAX_SEGMENTS else None
        fields = {"task_id": request.task_id, "user_id": json.loads(user), "created_at": _time(created)}
        return Transcript.model_validate(fields | {"segments": segments, "more_after": more})

    def _insert(self, result: TranscriptionResult) -> None:
        sql, user, voices = self._writer, json.dumps(result.user_id), result.voices or {}
        first = 1 + sum(int(str(past)) for (past,) in sql.execute("SELECT coalesce(max(past), 0) FROM results"))
        sql.execute(
            "INSERT INTO results (task, user, created, first, past) VALUES (?, ?, ?, ?, ?)",
            (result.task_id, user, result.created_at.timestamp(), first, first + len(result.segments)),
        )
        forgotten = {voice for (voice,) in sql.execute("SELECT voice FROM forgotten")} if voices else set[Any]()
        known = {speaker: one.voice for speaker, one in voices.items() if one.voice and one.voice not in forgotten}
        rows = []
        for number, segment in enumerate(result.segments):
            voice = known.get(segment.speaker or "")
            told = {"u": user, "l": segment.language, "s": segment.speaker, "v": voice}
            tags = " ".join(_tag(kind, value) for kind, value in told.items() if value is not None)
            times = (segment.start, segment.end)
            rows.append((first + number, segment.text, tags, number, *times, segment.speaker, voice))
        sql.executemany(
            "INSERT INTO segments (rowid, text, tags, number, start, end, speaker, voice) VALUES (?,?,?,?,?,?,?,?)",
            rows,
        )

    def _delete(self, task_id: str) -> None:
        for first, past in self._writer.execute(
            "SELECT first, past FROM results WHERE task = ?", (task_id,)
        ).fetchall():
            self._writer.execute("DELETE FROM segments WHERE rowid >= ? AND rowid < ?", (first, past))
            self._writer.execute("DELETE FROM results WHERE task = ?", (task_id,))

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        with self._writing, self._writer:
            yield self._writer

    def _truncate(self) -> None:
        """Empty the write-ahead log, which has pages from before the erasure."""
        with self._writing, self._reading:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _hit(row: Sequence[Any]) -> Hit:
    _, task, user, created, number, start, end, speaker, voice, snippet = row
    parts = _MARK.split(snippet)
    marks, at = list[tuple[int, int]](), 0
    for index, part in enumerate(parts):
        if index % 2:
            marks.append((at, at + len(part)))
        at += len(part)
    fields = {"task_id": task, "user_id": json.loads(user), "created_at": _time(created), "segment": number}
    return Hit.model_validate(
        fields
        | {"start": start, "end": end, "speaker": speaker, "voice": voice, "text": "".join(parts), "marks": marks}
    )


def _tag(kind: str, value: str) -> str:
    """Return a word of the column `tags`: the field, and a short hash of the value; no stemmer cuts the 0 off."""
    return f"{kind}{blake2b(value.encode(), digest_size=3).hexdigest()}0"


def _user(user_id: int | str | None) -> str | None:
    return None if user_id is None else json.dumps(user_id)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
