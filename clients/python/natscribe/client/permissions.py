"""A connection to NATS that reports missing permissions at once, and names the users who have them."""

import asyncio
import re
from collections.abc import Coroutine
from contextlib import suppress
from typing import Final, TypeVar

import nats.errors
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.api import Header, StatusCode

from natscribe.client.errors import InboxRefusedError, NotAllowedError
from natscribe.jetstream.nats_py_compat import SafeConnection
from natscribe.schemas.channels import CHANNELS, SERVICE

# In lower case, as nats-py converts the server's errors.
_REFUSAL: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"')
# deploy/nats/accounts.conf maps the subjects `$JS.API.>` to `$JS.ACK.natscribe.>`; an error may name either of them.
_JETSTREAM: Final = re.compile(r"^\$js\.(?:api|ack\.natscribe)\.")
_ACCEPTED_WITHIN_S: Final = 60  # long, as a late reply to a flush that timed out would end the reader of nats-py
_ALL_USERS: Final = ("publisher", "follower", "operator")
# The users of deploy/nats/accounts.conf who may read a stream or a bucket, by the first pattern that matches a subject.
_USERS_OF_STREAMS: Final = (
    (re.compile(r".*OBJ_results"), _ALL_USERS),
    (re.compile(r"\$O\.|.*OBJ_"), ("publisher",)),
    (re.compile(r"\$KV\.quotas|.*_(tasks|dead_letters|quotas)\b"), ("operator",)),
    (re.compile(r""), _ALL_USERS),
)
Reply = TypeVar("Reply")


class Connection(SafeConnection):
    """A connection to NATS whose requests fail at once, instead of timing out, if the user lacks the permission.

    The server does not reply to a refused request, but sends an error to the connection. Of the request, this error
    names only the subject, so it is attributed to every pending request on this subject.
    """

    def __init__(self, user: str | None, inbox_prefix: str) -> None:
        super().__init__()
        self._user = user
        self._prefix = inbox_prefix
        self._requests: dict[asyncio.Future[None], str] = {}  # the subject of each request without a reply yet
        self._no_inbox = False
        self.refused_subscriptions: set[str] = set()  # in lower case

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,  # noqa: FBT001, FBT002 -- nats-py's signature
        headers: dict[str, str] | None = None,
    ) -> Msg:
        """Send a request, and return the reply.

        Raises:
            NotAllowedError: The user may not send requests to this subject.
            InboxRefusedError: The user may not receive replies under the inbox prefix of the connection.
            NatsError: There is no reply.
        """
        return await self._unless_refused(subject, super().request(subject, payload, timeout, old_style, headers))

    async def request_all(self, subject: str, payload: bytes, *, within: float) -> list[Msg]:
        """Send a request to which several workers may reply; return the replies that arrive within `within` seconds.

        Raises:
            NotAllowedError, InboxRefusedError: As for `request`.
            NoRespondersError: Nobody subscribes to the subject.
        """
        return await self._unless_refused(subject, self._gather(subject, payload, within))

    async def confirm_subscription(self, subject: str) -> None:
        """Wait until the server has accepted or refused the subscription to a subject.

        If NATS does not reply, return as if the subscription were accepted.

        Raises:
            NotAllowedError: The user may not subscribe to this subject.
        """
        with suppress(nats.errors.Error):  # an outage: the server reports a refusal later
            # nats-py's first flush may overtake the subscription, which another asyncio task sends.
            for _ in range(2):
                await self.flush(timeout=_ACCEPTED_WITHIN_S)
        if subject in self.refused_subscriptions:
            raise NotAllowedError(self._user, subject, permitted_users(subject), action="subscribe to")

    async def _gather(self, subject: str, payload: bytes, within: float) -> list[Msg]:
        replies: list[Msg] = []
        no_responders = asyncio.Event()

        async def collect(reply: Msg) -> None:
            replies.append(reply)
            if (reply.headers or {}).get(Header.STATUS) == StatusCode.SERVICE_UNAVAILABLE:
                no_responders.set()

        inbox = await self.subscribe(self.new_inbox(), cb=collect)
        ended = asyncio.ensure_future(no_responders.wait())
        try:
            await self.publish(subject, payload, reply=inbox.subject)
            await asyncio.wait([ended], timeout=within)
        finally:
            ended.cancel()
            await inbox.unsubscribe()
        if no_responders.is_set():
            raise NoRespondersError
        return replies

    async def _unless_refused(self, subject: str, work: Coroutine[None, None, Reply]) -> Reply:
        """Return the result of `work`, which sends a request to `subject`, or raise if the server refuses the request.

        Raises:
            NotAllowedError, InboxRefusedError: The server refuses the request; see `request`.
        """
        sending = asyncio.ensure_future(work)
        refused = asyncio.get_running_loop().create_future()
        self._requests[refused] = subject
        try:
            if not self._no_inbox:
                await asyncio.wait([sending, refused], return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                return sending.result()
        finally:
            del self._requests[refused]
            sending.cancel()
        if self._no_inbox:
            raise InboxRefusedError(self._user, self._prefix)
        raise NotAllowedError(self._user, subject, permitted_users(subject))

    def handle_error(self, error: Exception) -> None:
        """Process an error from the server: if a permission is missing, let the pending requests that need it fail.

        The subject of a refused subscription is added to `refused_subscriptions`.
        """
        refusal = _REFUSAL.search(str(error))
        if refusal is None:
            return
        action, refused = refusal.groups()
        if action == "subscription":
            self.refused_subscriptions.add(refused)
        self._no_inbox |= action == "subscription" and refused.startswith(f"{self._prefix.lower()}.")
        for request, subject in self._requests.items():
            if not request.done() and (self._no_inbox or (action == "publish" and _is_same(refused, subject))):
                request.set_result(None)

    def handle_reconnect(self) -> None:
        """Allow requests again after a reconnect: the server may now permit the inbox that it has refused before."""
        self._no_inbox = False


def permitted_users(subject: str) -> tuple[str, ...]:
    """Return the NATS users who may publish or subscribe to a subject, according to deploy/nats/accounts.conf."""
    for channel in CHANNELS:
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^.]+", re.escape(channel.subject)), subject):
            roles = channel.subscribers if channel.publishers == SERVICE else channel.publishers
            return tuple(role for role in _ALL_USERS if role in roles)
    return next(users for pattern, users in _USERS_OF_STREAMS if pattern.match(subject))


def _is_same(refused: str, subject: str) -> bool:
    """Whether a permission error that names the subject `refused` concerns a request that was sent to `subject`.

    The two may differ, because a NATS account may map `subject` to a subject with another prefix and further tokens.
    """
    refused, requested = _JETSTREAM.sub("", refused), _JETSTREAM.sub("", subject.lower())
    return refused == requested or refused.startswith(f"{requested}.")
