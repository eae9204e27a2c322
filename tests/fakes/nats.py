"""A connection to a NATS server with JetStream that is in memory: nats-py's own code speaks with it.

`tests/integration/task_log/test_in_memory_task_log.py` sends the same requests to it and to a real server.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from inspect import isawaitable
from typing import cast

from nats.aio.client import Client, ServerVersion
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js import JetStreamContext
from nats.nuid import NUID

from tests.fakes.jetstream import Consumer, Json, RefusedError, Stored, Stream, matches

API = "$JS.API."
NO_STREAM = (404, 10059, "stream not found")
NO_CONSUMER = (404, 10014, "consumer not found")
TAKEN = (400, 10065, "subjects overlap with an existing stream")
Hook = Callable[[], object] | Exception  # something that happens meanwhile, or what the request ends with


@dataclass
class Subscription:
    """A subscription."""

    subject: str
    receive: Callable[[Msg], Awaitable[None]]
    nats: "InMemoryNats"

    async def unsubscribe(self) -> None:
        """End the subscription."""
        self.nats.subscriptions.remove(self)


class InMemoryNats:
    """A server, and the connection to it."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.subscriptions: list[Subscription] = []
        self.requests: list[str] = []  # the subjects of all requests
        self.ahead = timedelta()  # of the server's clock
        self.max_payload = 1024**2
        self.is_connected = True
        self.connected_server_version = ServerVersion("2.12.0")
        self._before: dict[str, list[Hook]] = {}
        self._after: dict[str, list[Hook]] = {}
        self.stats = {"reconnects": 0}
        self.pulls: list[tuple[str, asyncio.Task[None]]] = []  # pulls that wait for a message
        self._inboxes = 0
        self._nuid = NUID()  # nats-py's Object Store takes names from it

    @property
    def client(self) -> Client:
        """Return this fake, typed as the client that it replaces."""
        return cast("Client", self)

    @property
    def now(self) -> datetime:
        """The time on the server's clock."""
        return datetime.now(UTC) + self.ahead

    def before(self, request: str, *hooks: Hook) -> None:
        """Run one hook before each of the next requests on subjects with this prefix."""
        self._before.setdefault(request, []).extend(hooks)

    def after(self, request: str, *hooks: Hook) -> None:
        """Run one hook after each of the next such requests is processed, and before its reply."""
        self._after.setdefault(request, []).extend(hooks)

    def jetstream(self, timeout: float = 5) -> JetStreamContext:
        """Return nats-py's JetStream on this connection."""
        return JetStreamContext(self.client, timeout=timeout)

    def new_inbox(self) -> str:
        """Return a unique inbox subject."""
        self._inboxes += 1
        return f"_INBOX.{self._inboxes}"

    async def subscribe(self, subject: str, queue: str = "", cb: object = None) -> Subscription:  # noqa: ARG002
        """Subscribe to a subject."""
        self.subscriptions.append(Subscription(subject, cast("Callable[[Msg], Awaitable[None]]", cb), self))
        return self.subscriptions[-1]

    async def flush(self) -> None:
        """Everything is sent at once."""

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Publish a message; JetStream replies on `reply`."""
        if subject.startswith("$JS.ACK."):
            self._settle(subject, payload)
        elif subject.startswith(f"{API}DIRECT.GET."):
            await self._read(subject.removeprefix(f"{API}DIRECT.GET."), json.loads(payload), reply)
        elif subject.startswith(f"{API}CONSUMER.MSG.NEXT."):
            *_, of, name = subject.split(".")
            request = json.loads(payload)
            if request.get("expires") and not self.streams[of].holds_message_for(name):
                self.pulls.append((name, asyncio.create_task(self._deliver_later(of, name, request, reply))))
            else:
                await self._deliver(of, name, request["batch"], reply)
        else:
            await self._deliver_to_subscribers(subject, payload, headers or {})
            for stream in self.streams.values():
                if stream.takes(subject):
                    stream.publish(subject, payload, headers or {}, self.now)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,  # noqa: ARG002, ASYNC109 -- as nats-py has it
        headers: dict[str, str] | None = None,
    ) -> Msg:
        """Send a request."""
        await asyncio.sleep(0)  # others get their turn, as with a true server
        self.requests.append(subject)
        await _happen(self._before, subject)
        if any(subscription.subject == subject for subscription in self.subscriptions):
            return await self._request_subscriber(subject, payload)
        try:
            reply = self._reply(subject, payload, headers or {})
        except RefusedError as error:
            reply = error.reply
        await _happen(self._after, subject)
        if subject.startswith("tasks.") and "seq" in reply:  # no test needs the messages that other streams republish
            stored = {"Nats-Subject": subject, "Nats-Sequence": str(reply["seq"])}
            await self._deliver_to_subscribers(f"accepted.{subject}", payload, (headers or {}) | stored)
        return self._message(subject, json.dumps(reply).encode(), {})

    async def _request_subscriber(self, subject: str, payload: bytes) -> Msg:
        """Send a request to a subscriber, and return its reply."""
        replies = asyncio.Queue[Msg]()
        inbox = await self.subscribe(self.new_inbox(), cb=replies.put)
        for subscription in [subscription for subscription in self.subscriptions if subscription.subject == subject]:
            await subscription.receive(self._message(subject, payload, {}, reply=inbox.subject))
        await inbox.unsubscribe()
        return replies.get_nowait()

    def _reply(self, subject: str, payload: bytes, headers: dict[str, str]) -> Json:
        if subject.startswith("$JS.ACK."):
            self._settle(subject, payload)
            return {}
        if not subject.startswith(API):
            return self._published(subject, payload, headers)
        what, _, names = subject.removeprefix(API).partition(".")
        action, _, names = names.partition(".")
        if action in {"MSG", "DURABLE"}:
            part, _, names = names.partition(".")
            action = f"{action}.{part}"
        query: Json = json.loads(payload or b"{}")
        return self._of_stream(action, names, query) if what == "STREAM" else self._of_consumer(action, names, query)

    def _published(self, subject: str, payload: bytes, headers: dict[str, str]) -> Json:
        for stream in self.streams.values():
            if stream.takes(subject):
                return stream.publish(subject, payload, headers, self.now)
        raise NoRespondersError

    def _of_stream(self, action: str, name: str, query: Json) -> Json:
        if action == "CREATE":
            if any(other.takes(subject) for other in self.streams.values() for subject in query["subjects"]):
                raise RefusedError(*TAKEN)
            self.streams[name] = Stream(query)
        stream = self._stream(name)
        match action:
            case "UPDATE":
                stream.config = query
            case "PURGE":
                return stream.purge(query)
            case "MSG.GET":
                return stream.one(query)
            case "MSG.DELETE":
                return stream.delete(query["seq"])
            case "DELETE":
                del self.streams[name]
                return {"success": True}
        return stream.info(query) | {"ts": self.now.isoformat()}

    def _of_consumer(self, action: str, names: str, query: Json) -> Json:
        of, _, name = names.partition(".")
        stream = self._stream(of)
        if action == "DURABLE.CREATE":
            stream.consumers.setdefault(name, Consumer({})).config = query["config"]
        if name not in stream.consumers:
            raise RefusedError(*NO_CONSUMER)
        if action == "DELETE":
            del stream.consumers[name]
            return {"success": True}
        waiting = sum(1 for consumer, pull in self.pulls if consumer == name and not pull.done())
        return stream.consumer_info(name) | {"num_waiting": waiting}

    def _stream(self, name: str) -> Stream:
        if name not in self.streams:
            raise RefusedError(*NO_STREAM)
        return self.streams[name]

    async def _read(self, name: str, query: Json, reply: str) -> None:
        """Reply to a Direct Get."""
        self.requests.append(f"{API}DIRECT.GET.{name}")
        await _happen(self._before, self.requests[-1])
        if name not in self.streams:
            await self._deliver_to_subscribers(reply, b"", {"Status": "503"})
            return
        for stored, behind in list(self.streams[name].several(query)):
            position_headers = {
                "Nats-Subject": stored.subject,
                "Nats-Sequence": str(stored.sequence),
                "Nats-Time-Stamp": stored.time.isoformat(),
                "Nats-Num-Pending": str(behind),
            }
            await self._deliver_to_subscribers(reply, stored.body, stored.headers | position_headers)
        await self._deliver_to_subscribers(reply, b"", {"Status": "204"})

    async def _deliver(self, of: str, name: str, most: int, reply: str) -> None:
        """Deliver messages to a pull consumer; do not wait for later ones."""
        pulled = list(self.streams[of].pull(name, most))
        for number, (stored, times) in enumerate(pulled, 1):
            stamp, left = int(stored.time.timestamp() * 1e9), len(pulled) - number
            settled_by = f"$JS.ACK.{of}.{name}.{times}.{stored.sequence}.{stored.sequence}.{stamp}.{left}"
            body = b"" if self.streams[of].consumers[name].config.get("headers_only") else stored.body
            await self._deliver_to_subscribers(
                reply, body, stored.headers, subject=stored.subject, settled_by=settled_by
            )
        if len(pulled) < most:
            await self._deliver_to_subscribers(reply, b"", {"Status": "404"})

    async def _deliver_later(self, of: str, name: str, request: Json, reply: str) -> None:
        """Deliver messages to a pull consumer once there is one, unless the request expires before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(request["expires"] / 1e9):
                while not self.streams[of].holds_message_for(name):  # noqa: ASYNC110 -- the fake has no events
                    await asyncio.sleep(0.002)
        await self._deliver(of, name, request["batch"], reply)

    def _settle(self, subject: str, payload: bytes) -> None:
        """Take the acknowledgement of a message, or its release."""
        _, _, of, name, _, sequence, *_ = subject.split(".")
        stream = self.streams[of]
        consumer, number = stream.consumers[name], int(sequence)
        if payload.startswith(b"-NAK {"):
            consumer.put_off_s.append(json.loads(payload.removeprefix(b"-NAK "))["delay"] / 1e9)
        elif payload == b"-NAK":
            consumer.again.append(number)
        elif payload in {b"", b"+ACK"}:
            consumer.settle(number)
            if stream.config.get("retention") == "workqueue":
                stream.remove([message for message in stream.messages if message.sequence == number])

    async def _deliver_to_subscribers(
        self, to: str, body: bytes, headers: dict[str, str], *, subject: str = "", settled_by: str = ""
    ) -> None:
        for subscription in list(self.subscriptions):
            if matches(to, subscription.subject):
                await subscription.receive(self._message(subject or to, body, headers, settled_by))

    def _message(self, subject: str, body: bytes, headers: dict[str, str], reply: str = "") -> Msg:
        return Msg(_client=self.client, subject=subject, reply=reply, data=body, headers=dict(headers))

    def come_due(self, stream: str) -> None:
        """Deliver all scheduled messages of a stream now."""
        scheduled: list[Stored] = [
            message for message in self.streams[stream].messages if "Nats-Schedule" in message.headers
        ]
        self.streams[stream].remove(scheduled)
        for message in scheduled:
            self.streams[stream].publish(message.headers["Nats-Schedule-Target"], message.body, {}, self.now)


async def _happen(hooks: dict[str, list[Hook]], subject: str) -> None:
    for request, next_ones in hooks.items():
        if subject.startswith(request) and next_ones:
            hook = next_ones.pop(0)
            if isinstance(hook, Exception):
                raise hook
            outcome = hook()
            if isawaitable(outcome):
                await outcome
