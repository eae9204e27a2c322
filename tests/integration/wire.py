"""All messages between the service and its clients, compared with the document."""

import re

from nats.aio.client import Client
from nats.aio.msg import Msg

from tests import document

PUBLISHED = [
    document.channel_of(operation)["address"].replace("{task_id}", "*").replace("{kind}", "*").replace("{voice}", "*")
    for operation in document.operations("send").values()
]
REQUESTED = [
    re.sub(r"\{\w+\}", "*", document.channel_of(operation)["address"])
    for operation in document.operations("receive").values()
    if "reply" in operation
    and operation["tags"] != [{"name": "inside"}]  # a subscriber there would count as an idle worker
]


class Wire:
    """Records the messages and replies of the service, not those of clients."""

    def __init__(self) -> None:
        self._published: list[Msg] = []
        self._subject_of_inbox: dict[str, str] = {}  # inbox -> subject of the request
        self._inboxes: list[Msg] = []

    async def subscribe(self, nc: Client) -> None:
        for subject in PUBLISHED:
            await nc.subscribe(subject, cb=self._record_message)
        for subject in REQUESTED:
            await nc.subscribe(subject, cb=self._record_request)
        # Replies only, not `_INBOX.>`: a subscriber to the inbox of a pull request would keep it open after its
        # worker has stopped, and the next message would be lost.
        await nc.subscribe("_INBOX.*.*", cb=self._record_reply)
        await nc.flush()

    async def _record_message(self, message: Msg) -> None:
        if message.subject not in REQUESTED:
            self._published.append(message)

    async def _record_request(self, message: Msg) -> None:
        self._subject_of_inbox[message.reply] = message.subject

    async def _record_reply(self, message: Msg) -> None:
        self._inboxes.append(message)

    def candidates(self) -> list[tuple[Msg, list[str]]]:
        """Each message, and the names of the messages that the document allows for its subject."""
        recorded = [
            (message, document.names(document.operation_at(message.subject)["messages"])) for message in self._published
        ]
        return recorded + [
            (
                message,
                document.names(document.operation_at(self._subject_of_inbox[message.subject])["reply"]["messages"]),
            )
            for message in self._inboxes
            if message.subject in self._subject_of_inbox
        ]

    def seen(self) -> set[str]:
        """The names of all messages that passed."""
        return {
            name
            for message, candidates in self.candidates()
            for name in document.matching(candidates, message.headers or {}, message.data)
        }

    def unstored(self) -> list[str]:
        """The subjects of messages that a stream should have republished, and no stream has stored."""
        return [
            message.subject
            for message in self._published
            if "x-nats" in document.channel_of(document.operation_at(message.subject))
            and "Nats-Sequence" not in (message.headers or {})
        ]

    def strangers(self) -> list[tuple[str, dict[str, str]]]:
        """The messages that the document does not describe, and why not."""
        checked = (
            (message.subject, document.faults(candidates, message.headers or {}, message.data))
            for message, candidates in self.candidates()
        )
        return [(subject, faults) for subject, faults in checked if faults]
