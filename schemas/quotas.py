"""The quotas of single users: entries of a Key-Value bucket, which operators write and the service reads.

The key of an entry is the user id as JSON, in URL-safe Base64 without padding, because a key may not have all the
characters of a user id: `NDI` is the key of the user 42, and `ImFubmEi` that of `"anna"`.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .problems import problems_of
from .wire import UserId

QUOTAS_BUCKET: Final = "quotas"
QUOTA_KEYS: Final = f"$KV.{QUOTAS_BUCKET}."  # the start of the subject under which JetStream stores an entry
MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000.0
_USER: Final[TypeAdapter[int | str]] = TypeAdapter(UserId)


class StoredQuota(BaseModel):
    """The quota of one user, as stored in the bucket.

    `weight`: how much work the user gets in relation to other users. `max_running`, `max_waiting`: how many
    tasks of the user may run and wait; None: the limit in the settings applies; 0: no limit.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    weight: float = Field(1.0, ge=MIN_WEIGHT, le=MAX_WEIGHT)
    max_running: int | None = Field(None, ge=0)
    max_waiting: int | None = Field(None, ge=0)


class UserQuota(BaseModel):
    """An entry of the bucket. If it is not valid, `problem` says why, and `quota` is None."""

    key: str
    user_id: int | str | None = None  # None: the key is not that of a user
    quota: StoredQuota | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """The user or, if the key is not that of a user, the key: for people."""
        return self.key if self.user_id is None else f"of the user {self.user_id}"


def key_of(user_id: int | str) -> str:
    """Return the key of a user's entry."""
    return urlsafe_b64encode(_USER.dump_json(user_id)).decode().rstrip("=")


def read_quota(key: str, value: bytes) -> UserQuota:
    """Parse an entry of the bucket, which may be invalid."""
    try:
        user_id = _USER.validate_json(urlsafe_b64decode(f"{key}=="), strict=True)  # too much padding does no harm
    except ValueError:
        return UserQuota(key=key, problem="its key is no user id in Base64")
    try:
        return UserQuota(key=key, user_id=user_id, quota=StoredQuota.model_validate_json(value))
    except ValidationError as error:
        return UserQuota(key=key, user_id=user_id, problem=problems_of(error))
