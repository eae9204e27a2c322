"""The hostile input of all tests: tables of bodies and headers, and what hypothesis generates."""

import asyncio
import json
import os
import random
from urllib.parse import urlsplit

import hypothesis
from hypothesis import strategies as st
from nats.aio.client import Client

MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "500"))
SEED = int(os.environ.get("FUZZ_SEED", str(random.randrange(2**32))))  # noqa: S311 -- printed, to be repeated
QUEUES = [
    f"tasks.{kind}.{priority}" for kind in ("transcription", "diarization", "live") for priority in ("high", "low")
]
REQUESTS = [
    "tasks.status",
    "tasks.result",
    "tasks.list",
    "tasks.queue",
    "workers.info",
    "tasks.cancel",
    "tasks.delete",
    "dead_letters.replay",
    "dead_letters.delete",
]

ids = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), st.text(), st.integers(), st.none())
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
nearly = st.fixed_dictionaries(
    {
        "task_id": ids,
        "audio_file_id": st.sampled_from(["meeting.flac", "../x", "/etc/passwd", "a\x00b", ""]) | st.text(),
    },
    optional={
        "user_id": st.integers() | st.booleans() | st.text(),
        "model": st.sampled_from(["../../etc", "large-v3", "", "a/b"]) | values,
        "language": st.sampled_from(["en", "xx", "EN"]) | values,
        "diarize": values,
        "min_speakers": st.integers(),
        "max_speakers": st.integers(),
        "format": st.sampled_from(["srt", "json", "exe"]),
        "kind": st.sampled_from(["diarization", "x"]),
        "code": st.sampled_from(["timeout", "x"]),
        "surprise": values,
    },
)


def surprises(task_id: str) -> list[bytes]:
    """Tasks in which a parser of JSON meets something odd behind the id."""
    odd = [
        b"9" * 5000,
        b"-" + b"9" * 5000,
        b"1e999999",
        b"0." + b"9" * 5000,
        b"NaN",
        b"-Infinity",
        rb'"\ud800"',
        rb'"\u0000"',
        b'"\xff"',
        b'"\n"',
        b"[" * 150 + b"]" * 150,
        b"[" * 400 + b"]" * 400,
        b'1,"user_id":2',
    ]
    return [
        b'{"task_id":"%s","audio_file_id":"meeting.flac","user_id":%s}' % (task_id.encode(), user_id) for user_id in odd
    ]


written = (nearly | values).map(lambda value: json.dumps(value).encode())  # lone surrogates, NaN and all
bodies = st.one_of(
    written,
    st.binary(max_size=200),
    st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.tuples(written, st.integers(0, 50)).map(lambda cut: cut[0][: -cut[1] or None]),
    st.sampled_from([b"[" * 100_000, b'{"a":' * 10_000, b"9" * 10_000, b'{"task_id":"d","task_id":"e"}', b"\x00" * 9]),
    st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).flatmap(lambda task_id: st.sampled_from(surprises(task_id))),
)
texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
headers = st.dictionaries(
    st.sampled_from(
        ["content-type", "reply_to", "correlation_id", "traceparent", "Natscribe-Replay-Of", "Natscribe-Task", "X"]
    ),
    texts | st.sampled_from(["application/json", "text/plain", "tasks.transcription.high", "1", "-1", "stolen.reply"]),
    max_size=3,
)
HOSTILE_HEADERS = {
    "nothing but a version": b"NATS/1.0",
    "no text": b"\xff\xff\r\n",
    "a size": b"99999999\r\n",
    "a status that is no text": b"NATS/1.0 404 \xff\xfe\r\n\r\n",
    "a status that is no number": b"NATS/1.0 \xff\xff\xff\r\nX: y\r\n\r\n",
    "no responders": b"NATS/1.0 503\r\n\r\n",
    "a heartbeat": b"NATS/1.0 100 Idle Heartbeat\r\n\r\n",
}
EVENT = {"kind": "transcription", "state": "queued", "max_attempts": 4, "sequence": 1, "time": "2026-01-01T00:00:00Z"}
GARBAGE = {  # what others write where only the service does; ID: that of a task
    "empty": b"",
    "no text": b"\xff\x00",
    "cut off": b"{",
    "empty object": b"{}",
    "list": b"[]",
    "id alone": b'{"task_id": "ID"}',
    "event": json.dumps({"task_id": "ID"} | EVENT).encode(),
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 10_000,
}
Hostile = tuple[str, bytes, dict[str, str]]


def invented(subjects: list[str], count: int) -> list[Hostile]:
    """Messages as hypothesis invents them, the same for the same seed."""
    messages: list[Hostile] = []

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.sampled_from(subjects), bodies, headers)
    def collect(subject: str, body: bytes, extra: dict[str, str]) -> None:
        messages.append((subject, body, extra))

    collect()
    print(f"FUZZ_SEED={SEED} FUZZ_MESSAGES={count}")
    return messages


def filled(body: bytes, nc: Client, extra: dict[str, str]) -> bytes:
    """The body, with spaces up to the largest message: the server counts headers, too."""
    room = nc.max_payload - sum(len(name) + len(value) + 4 for name, value in extra.items()) - 12
    return body.ljust(room)


async def publish_bytes(url: str, subject: str | bytes, head: bytes, body: bytes) -> None:
    """Publish without a library; `subject` may be followed by a reply subject; an empty `head`: without headers."""
    subject = subject.encode() if isinstance(subject, str) else subject
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
    verb, sizes = (b"HPUB", f"{len(head)} {len(head) + len(body)}") if head else (b"PUB", f"{len(body)}")
    writer.write(verb + b" " + subject + f" {sizes}\r\n".encode() + head + body + b"\r\nPING\r\n")
    assert await asyncio.wait_for(reader.readline(), 5) == b"PONG\r\n"
    writer.close()
    await writer.wait_closed()
