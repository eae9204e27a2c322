"""Requests to receivers: CloudEvents over HTTP in binary mode, signed as Standard Webhooks."""

import asyncio
import base64
import hashlib
import hmac
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import httpx2

from services.forward.rules import Rule, is_private

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 300.0
_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_CLOUD_EVENT = "ce-"


class RefusedError(Exception):
    """The receiver refuses the event for good, or was not reached in time; the message says why."""


class _AgainError(Exception):
    """The request is repeated after at least `pause_s` seconds."""

    def __init__(self, why: str, pause_s: float = 0.0) -> None:
        super().__init__(why)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it was stored: the headers `ce-*` of its message, and its body, JSON."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The id of the event, the same in each repetition."""
        return self.headers["ce-id"]


def signed(rule: Rule, event: Event, at: int) -> dict[str, str]:
    """Return the headers of a request: those of a CloudEvent, and its signature.

    `at`: when the request is sent, in seconds since 1970. The signature is that of Standard Webhooks: HMAC-SHA256 of
    the id, the time and the body, joined by dots.
    """
    content = b".".join((event.id.encode(), str(at).encode(), event.body))
    signature = base64.b64encode(hmac.digest(rule.key, content, hashlib.sha256)).decode()
    described = {name: value for name, value in event.headers.items() if name.startswith(_CLOUD_EVENT)}
    described.pop("ce-datacontenttype", None)  # which is content-type in binary mode
    return described | {
        "content-type": "application/json",
        "webhook-id": event.id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{signature}",
    }


@asynccontextmanager
async def connections() -> AsyncIterator[httpx2.AsyncClient]:
    """The HTTP client for all receivers: it follows no redirects, and knows no proxy of the environment."""
    async with httpx2.AsyncClient(follow_redirects=False, trust_env=False) as client:
        yield client


async def send(client: httpx2.AsyncClient, rule: Rule, read: Callable[[], Awaitable[Event | None]]) -> bool:
    """Send an event until the receiver has accepted it; return False if the event was erased before.

    `read`: returns the event, or None once it is erased; it is called before each request, so that no erased event is
    sent. Between requests there are pauses of 0.5 s to 5 min, which grow, with a random part.

    Raises:
        RefusedError: The receiver refuses the event, or `rule.give_up_after_s` has passed.
    """
    started, pause = time.monotonic(), _FIRST_PAUSE_S
    while (event := await read()) is not None:
        try:
            await _post(client, rule, event)
        except _AgainError as error:
            wait = max(error.pause_s, pause * random.uniform(0.5, 1.0))  # noqa: S311 -- no secret
            if time.monotonic() - started + wait > rule.give_up_after_s:
                raise RefusedError(str(error)) from error
            await asyncio.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        else:
            return True
    return False


async def _post(client: httpx2.AsyncClient, rule: Rule, event: Event) -> None:
    url = httpx2.URL(str(rule.url))
    try:
        async with asyncio.timeout(rule.timeout_s):
            request = client.build_request(
                "POST",
                url.copy_with(host=await _address(rule, url)),
                content=event.body,
                headers=signed(rule, event, int(time.time())) | {"host": url.netloc.decode()},
                timeout=rule.timeout_s,
                extensions={"sni_hostname": url.host},
            )
            response = await client.send(request, stream=True)  # the body of the response is not read
            await response.aclose()
    except (httpx2.HTTPError, OSError, TimeoutError) as error:
        why = f"no response ({type(error).__name__})"
        raise _AgainError(why) from error
    status = response.status_code
    if response.is_success:
        return
    why = f"status {status}"
    if status in _AGAIN or response.is_server_error:
        raise _AgainError(why, _retry_after(response))
    raise RefusedError(why)


async def _address(rule: Rule, url: httpx2.URL) -> str:
    """Resolve the host of a URL to the address to which the request goes.

    The request is sent to this address, so that the name cannot lead to another one between the check and the request.

    Raises:
        RefusedError: The host has a private address, and the rule does not allow it.
    """
    found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    addresses = [str(address[0]) for *_, address in found]
    if not rule.allow_private and any(map(is_private, addresses)):
        message = "the host has a private address"
        raise RefusedError(message)
    return addresses[0]


def _retry_after(response: httpx2.Response) -> float:
    """Return the pause in seconds that a response asks for, at most five minutes; 0 if it names none in seconds."""
    seconds = response.headers.get("retry-after", "")
    return min(float(seconds), _LONGEST_PAUSE_S) if seconds.isdecimal() else 0.0
