"""The rules: which events are sent to which URL."""

import base64
import binascii
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind, UserId
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, TypeAdapter, ValidationError, model_validator

ENDED: Final = frozenset(state for state in State if state.ended)
_SECRET_PREFIX = "whsec_"  # noqa: S105 -- of Standard Webhooks, before the secret
_MIN_SECRET_BYTES, _MAX_SECRET_BYTES = 24, 64  # Standard Webhooks, "Signature scheme"


class RulesError(Exception):
    """The rules cannot be used; the message says which and why."""


class Rule(BaseModel):
    """One receiver of events, and which of them it receives.

    `secret`: signs the requests as Standard Webhooks; `whsec_` and 24 to 64 bytes in Base64. `kinds`, `users`,
    `states`: None: all. `max_bytes`: the largest body; a larger result is sent as the message that names its object.
    `timeout_s`: of one request, in seconds. `give_up_after_s`: after this time without success the event becomes a dead
    letter. `allow_private`: whether the URL may be `http://` or have a private address.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
    url: HttpUrl
    secret: SecretStr
    events: frozenset[Literal["results", "progress", "erased"]]
    kinds: frozenset[Kind] | None = None
    users: frozenset[UserId] | None = None
    states: frozenset[State] = ENDED
    max_bytes: int = Field(4 * 1024 * 1024, ge=1024)
    timeout_s: float = Field(10.0, gt=0, le=60)
    give_up_after_s: float = Field(24 * 3600.0, gt=0)
    allow_private: bool = False

    @property
    def key(self) -> bytes:
        """The bytes of the secret, the key of the signatures."""
        return base64.b64decode(self.secret.get_secret_value().removeprefix(_SECRET_PREFIX), validate=True)

    @model_validator(mode="after")
    def _check_secret(self) -> Self:
        try:
            valid = _MIN_SECRET_BYTES <= len(self.key) <= _MAX_SECRET_BYTES
        except binascii.Error:
            valid = False
        if not (valid and self.secret.get_secret_value().startswith(_SECRET_PREFIX)):
            message = "write a secret of whsec_ and 24 to 64 random bytes in Base64"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _check_url(self) -> Self:
        if self.url.username or self.url.password:
            message = "the URL has a login: requests are signed with the secret, write the URL without it"
            raise ValueError(message)
        if self.allow_private:
            return self
        if self.url.scheme != "https":
            message = "the URL is not https: set allow_private for a receiver in your own network"
            raise ValueError(message)
        if is_private(self.url.host or ""):
            message = "the URL has a private address: set allow_private for a receiver in your own network"
            raise ValueError(message)
        return self


def is_private(address: str) -> bool:
    """Whether an IP address is not one of the public Internet; False for a name, which is resolved at each request."""
    try:
        return not ip_address(address.strip("[]")).is_global
    except ValueError:
        return address == "localhost"


def read_rules(path: Path) -> list[Rule]:
    """Read the rules from a JSON file with a list of them.

    Raises:
        RulesError: The file cannot be read, or a rule is invalid; no secret is in the message.
    """
    try:
        rules = TypeAdapter(list[Rule]).validate_json(path.read_bytes())
    except OSError as error:
        message = f"The rules {path} cannot be read ({error.strerror}): name the file in FORWARD_RULES."
        raise RulesError(message) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = f"The rules {path} are wrong at {where or 'the start'}: {first['msg'].removeprefix('Value error, ')}."
        raise RulesError(message) from error
    if len({rule.name for rule in rules}) < len(rules):
        message = f"Two rules of {path} have the same name: each is the name of a position in the events."
        raise RulesError(message)
    return rules
