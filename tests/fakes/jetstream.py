"""A stream of JetStream, and its pull consumers, in memory: only what the service uses of them."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

Json = dict[str, Any]  # as JetStream's API writes it

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
WRONG_SEQUENCE = (400, 10071, "wrong last sequence")
QUEUE_FULL = (503, 10077, "maximum messages per subject exceeded")
NO_MESSAGE = (404, 10037, "no message found")
NOT_DELETED = (400, 10057, "message not deleted")
NO_SEQUENCE = (400, 10025, "invalid JSON")


class RefusedError(Exception):
    """The error reply of a server to a request."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(description)
        self.reply: Json = {"error": {"code": code, "err_code": err_code, "description": description}}


@dataclass(frozen=True)
class Stored:
    """A stored message."""

    subject: str
    sequence: int
    body: bytes
    headers: dict[str, str]
    time: datetime

    def api_message(self) -> Json:
        """Return the message as JetStream's API writes it."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return {
            "message": {
                "subject": self.subject,
                "seq": self.sequence,
                "data": base64.b64encode(self.body).decode(),
                "hdrs": base64.b64encode(f"NATS/1.0\r\n{lines}\r\n".encode()).decode(),
                "time": self.time.isoformat(),
            }
        }


@dataclass
class Consumer:
    """A durable pull consumer."""

    config: Json
    delivered: int = 0  # the stream sequence up to which messages were delivered once
    pending: dict[int, int] = field(default_factory=dict)  # sequence of a message without an end: its deliveries
    again: list[int] = field(default_factory=list)  # released messages
    put_off_s: list[float] = field(default_factory=list)  # for each message that was released for later: how much

    @property
    def settled(self) -> int:
        """The stream sequence up to which all messages are settled."""
        return min(self.pending, default=self.delivered + 1) - 1

    def settle(self, sequence: int) -> None:
        """Settle a message."""
        self.pending.pop(sequence, None)
        self.again = [waiting for waiting in self.again if waiting != sequence]


class Stream:
    """The messages of a stream, in the order of their sequences."""

    def __init__(self, config: Json) -> None:
        self.config = config
        self.created = datetime.now(UTC)
        self.messages: list[Stored] = []
        self.last_sequence = 0
        self.consumers: dict[str, Consumer] = {}
        self.ids: dict[str, int] = {}  # for each Nats-Msg-Id: the sequence of its message

    def takes(self, subject: str) -> bool:
        """Return whether the stream stores messages of a subject."""
        return any(matches(subject, pattern) for pattern in self.config["subjects"])

    def of(self, subject: str) -> list[Stored]:
        """Return the messages of a subject, which may be a wildcard."""
        return [message for message in self.messages if matches(message.subject, subject)]

    def publish(self, subject: str, body: bytes, headers: Mapping[str, str], at: datetime) -> Json:
        """Store a message unless it is a repetition; return the acknowledgement."""
        subject, message_id = self._transformed(subject), headers.get("Nats-Msg-Id")
        if message_id in self.ids:
            return self._acknowledgement(self.ids[message_id]) | {"duplicate": True}
        if EXPECTED in headers:
            among = self.of(headers.get(f"{EXPECTED}-Subject", subject))
            if int(headers[EXPECTED]) != (among[-1].sequence if among else 0):
                raise RefusedError(*WRONG_SEQUENCE)
        limit = self.config.get("max_msgs_per_subject") or -1
        if self.config.get("discard_new_per_subject") and 0 <= limit <= len(self.of(subject)):
            raise RefusedError(*QUEUE_FULL)
        if headers.get("Nats-Rollup") == "sub" or "Nats-Schedule" in headers or limit == 1:  # 1: of Key-Value
            self.remove(self.of(subject))
        self.last_sequence += 1
        self.messages.append(Stored(subject, self.last_sequence, body, dict(headers), at))
        if message_id is not None:
            self.ids[message_id] = self.last_sequence
        return self._acknowledgement(self.last_sequence)

    def _acknowledgement(self, sequence: int) -> Json:
        return {"stream": self.config["name"], "seq": sequence}

    def _transformed(self, subject: str) -> str:
        transform = self.config.get("subject_transform")
        if not transform or not matches(subject, transform["src"]):
            return subject
        wildcards = [
            one for one, kind in zip(subject.split("."), transform["src"].split("."), strict=True) if kind == "*"
        ]
        return re.sub(r"{{wildcard\((\d)\)}}", lambda match: wildcards[int(match[1]) - 1], transform["dest"])

    def remove(self, messages: Iterable[Stored]) -> int:
        """Delete messages; return their number."""
        gone = {message.sequence for message in messages}
        self.messages = [message for message in self.messages if message.sequence not in gone]
        for consumer in self.consumers.values():
            for sequence in gone:
                consumer.settle(sequence)
        return len(gone)

    def purge(self, query: Json) -> Json:
        """Remove the messages of a subject, or those before a sequence."""
        gone = [message for message in self.of(query.get("filter", ">")) if message.sequence < query.get("seq", 2**63)]
        return {"success": True, "purged": self.remove(gone)}

    def delete(self, sequence: int) -> Json:
        """Remove one message."""
        if self.config.get("deny_delete") or not self.remove(self._numbered(sequence)):
            raise RefusedError(*NOT_DELETED)
        return {"success": True}

    def _numbered(self, sequence: int) -> list[Stored]:
        return [message for message in self.messages if message.sequence == sequence]

    def one(self, query: Json) -> Json:
        """Return the message that a query selects."""
        if query.get("seq", 0) < 0:
            raise RefusedError(*NO_SEQUENCE)
        if "last_by_subj" in query:
            matching = self.of(query["last_by_subj"])[-1:]
        elif "next_by_subj" in query:
            matching = [message for message in self.of(query["next_by_subj"]) if message.sequence >= query["seq"]][:1]
        else:
            matching = self._numbered(query["seq"])
        if not matching:
            raise RefusedError(*NO_MESSAGE)
        return matching[0].api_message()

    def several(self, query: Json) -> Iterator[tuple[Stored, int]]:
        """Yield the messages that a Direct Get selects, each with the number of later messages of its subject."""
        if "multi_last" in query:
            last = [message for subject in query["multi_last"] for message in self.of(subject)[-1:]]
            yield from ((message, 0) for message in sorted(last, key=lambda message: message.sequence))
            return
        matching = [message for message in self.of(query["next_by_subj"]) if message.sequence >= query["seq"]]
        for number, message in enumerate(matching[: query["batch"]], 1):
            yield message, len(matching) - number

    def info(self, query: Json) -> Json:
        """Describe the stream."""
        shown = self.of(query["subjects_filter"]) if "subjects_filter" in query else []
        subjects = [message.subject for message in shown]
        state = {
            "messages": len(self.messages),
            "bytes": sum(len(message.body) for message in self.messages),
            "first_seq": self.messages[0].sequence if self.messages else self.last_sequence + 1,
            "last_seq": self.last_sequence,
            "consumer_count": len(self.consumers),
            "subjects": {subject: subjects.count(subject) for subject in subjects},
        }
        return {"config": dict(self.config), "created": self.created.isoformat(), "state": state}

    def consumer_info(self, name: str) -> Json:
        """Describe a consumer."""
        consumer = self.consumers[name]
        waiting = [
            message for message in self.of(consumer.config["filter_subject"]) if message.sequence > consumer.delivered
        ]
        return {
            "name": name,
            "stream_name": self.config["name"],
            "config": dict(consumer.config),
            "created": self.created.isoformat(),
            "delivered": {"consumer_seq": consumer.delivered, "stream_seq": consumer.delivered},
            "ack_floor": {"consumer_seq": consumer.settled, "stream_seq": consumer.settled},
            "num_ack_pending": len(consumer.pending),
            "num_pending": len(waiting),
            "paused": consumer.config.get("paused", False),
        }

    def holds_message_for(self, name: str) -> bool:
        """Return whether a consumer has a message to deliver."""
        consumer = self.consumers[name]
        return bool(consumer.again) or any(
            message.sequence > consumer.delivered for message in self.of(consumer.config["filter_subject"])
        )

    def pull(self, name: str, most: int) -> Iterator[tuple[Stored, int]]:
        """Yield up to `most` messages for a consumer, those that were released first, with their deliveries."""
        consumer = self.consumers[name]
        again = [message for message in self.messages if message.sequence in consumer.again]
        new = [
            message for message in self.of(consumer.config["filter_subject"]) if message.sequence > consumer.delivered
        ]
        for message in (again + new)[:most]:
            consumer.again = [waiting for waiting in consumer.again if waiting != message.sequence]
            consumer.delivered = max(consumer.delivered, message.sequence)
            consumer.pending[message.sequence] = consumer.pending.get(message.sequence, 0) + 1
            yield message, consumer.pending[message.sequence]


def matches(subject: str, pattern: str) -> bool:
    """Return whether a subject matches a NATS wildcard."""
    return _expression(pattern).fullmatch(subject) is not None


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", r"[^.]+").replace(">", ".+"))
