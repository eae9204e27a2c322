"""Settings that client and service share: how to reach NATS, and where recordings are stored."""

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from natscribe.schemas.problems import problems_of
from natscribe.schemas.stream_names import StreamNames

SECRETS = Path("/run/secrets")  # container engines put one file here for each secret; the environment overrides it
STEM_SUFFIX = "_tasks"
AUDIO_STORE_PATTERN = re.compile(
    r"nats://[A-Za-z0-9_-]+"
    r"|file:///.*"
    r"|s3://[a-z0-9][a-z0-9.-]+(/(?!\.)[\w.!()=-]+)*/?"
    r"|https://[A-Za-z0-9.-]+(:[0-9]{1,5})?/((?!\.)[\w.~-]+/)*"
)


class Settings(BaseModel):
    """How to reach NATS, and where recordings are stored.

    The fields are named like the environment variables: `nats_url` is NATS_URL. `nats_stream_name`: the task stream, on
    whose name the names of all other streams are based. `nats_consumer_name`: the prefix of all consumers' names.
    """

    model_config = ConfigDict(
        extra="ignore",
        hide_input_in_errors=True,  # the input may contain passwords
        defer_build=True,
    )

    nats_url: str = Field("nats://localhost:4222", description="Addresses of the NATS servers, separated by commas.")
    nats_user: str | None = None
    nats_password: SecretStr | None = None
    nats_creds_file: FilePath | None = None
    nats_tls_ca_file: FilePath | None = None
    nats_inbox_prefix: str = Field(
        "_INBOX", pattern=r"^[A-Za-z0-9_.-]+$", description="Prefix of the subjects on which a client receives replies."
    )
    nats_stream_name: str = Field("transcription_tasks", pattern=r"^[A-Za-z0-9_-]+$")
    nats_consumer_name: str = Field("transcription_worker", pattern=r"^[A-Za-z0-9_-]+$")

    audio_store: str = Field("nats://audio", description="Address of the bucket, folder or web server with recordings.")
    audio_max_bytes: int = Field(4 * 1024**3, gt=0, description="Size of the largest accepted recording in bytes.")
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_region: str | None = None
    aws_endpoint_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Address of an S3 server such as MinIO; null: Amazon's.",
    )

    @classmethod
    def read(cls, *files: Path) -> Self:
        """Read each setting from the environment, or else from `files` (`NAME=value` lines), or else from /run/secrets.

        An empty value is ignored. If several files have a setting, its value in the first of them is used.

        Raises:
            ValidationError: A setting is invalid; `describe_invalid_setting` describes the error in a sentence.
        """
        sources = [_upper(os.environ), *_lines_of(files)]
        settings: dict[str, str] = {}
        for name in cls.model_fields:
            values = (source.get(name.upper()) for source in sources)
            value = next(filter(None, values), None) or _secret(name)
            if value:
                settings[name] = value
        return cls.model_validate(settings)

    @model_validator(mode="after")
    def _check_aws_credentials(self) -> Self:
        is_incomplete = (self.aws_access_key_id is None) != (self.aws_secret_access_key is None)
        if is_incomplete and self.audio_store.startswith("s3:"):
            message = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together: set both, or neither"
            raise ValueError(message)
        return self

    @field_validator("nats_url")
    @classmethod
    def _check_nats_url(cls, urls: str) -> str:
        addresses = [url.strip() for url in urls.split(",")]
        for address in map(split_address, addresses):
            if address.scheme not in {"nats", "tls"} or not address.hostname:
                message = "write nats://HOST:PORT, or tls:// with TLS; separate several addresses by commas"
                raise ValueError(message)
        return ",".join(addresses)

    @field_validator("nats_creds_file")
    @classmethod
    def _check_creds_extra(cls, file: Path | None) -> Path | None:
        if file is not None and find_spec("nkeys") is None:
            message = (
                "a credentials file needs an extra, install it in a checkout: pip install './clients/python[creds]'"
            )
            raise ValueError(message)
        return file

    @field_validator("audio_store")
    @classmethod
    def _check_audio_store(cls, url: str) -> str:
        if not AUDIO_STORE_PATTERN.fullmatch(url):
            message = "write nats://BUCKET, file:///FOLDER, s3://BUCKET/PREFIX or https://HOST/FOLDER/"
            raise ValueError(message)
        if url.startswith("s3:") and find_spec("obstore") is None:
            message = "S3 needs an extra, install it in a checkout: pip install './clients/python[s3]'"
            raise ValueError(message)
        return url

    @property
    def nats_servers(self) -> list[str]:
        """The URLs of the NATS servers, as listed in NATS_URL."""
        return self.nats_url.split(",")

    @property
    def nats_addresses(self) -> str:
        """The URLs of the NATS servers, separated by commas, without users and passwords, to show in error messages."""
        return ", ".join(map(without_login, self.nats_servers))

    @property
    def stem(self) -> str:
        """The name of the task stream without `_tasks`: the prefix of the names of the other streams."""
        return self.nats_stream_name.removesuffix(STEM_SUFFIX)

    @property
    def stream_names(self) -> StreamNames:
        """The names of this deployment's streams and consumers, made from NATS_STREAM_NAME and NATS_CONSUMER_NAME."""
        streams = {field.name: f"{self.stem}_{field.name}" for field in fields(StreamNames)}
        return StreamNames(**streams | {"tasks": self.nats_stream_name, "consumer_stem": self.nats_consumer_name})


def without_login(url: str) -> str:
    """Return a URL without user, password and query, because a query may contain credentials, too."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def split_address(url: str) -> SplitResult:
    """Split a URL into scheme, address, path and query, and check its port.

    Raises:
        ValueError: The URL is invalid, e.g. its port is not a number.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        message = "write SCHEME://HOST:PORT with a port up to 65535, and special characters in a password as %XX"
        raise ValueError(message) from error
    return parts


def describe_invalid_setting(error: ValidationError) -> str:
    """Return a sentence that names the first invalid setting, by its environment variable, and the problem."""
    # The name is empty if the problem is a combination of settings.
    name = "".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
    setting = f"The setting {name.upper()}" if name else "A setting"
    problem = problems_of(error).partition("; ")[0].removeprefix(f"{name}: ")
    return f"{setting} is wrong: {problem}. Correct it in the environment or in .env."


def _lines_of(files: tuple[Path, ...]) -> list[dict[str, str | None]]:
    present = [file for file in files if file.is_file()]
    if not present:
        return []
    from dotenv import dotenv_values  # noqa: PLC0415 -- part of the extra `command`, which alone reads files

    return [_upper(dotenv_values(file)) for file in present]


def _upper(values: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name.upper(): value for name, value in values.items()}


def _secret(name: str) -> str | None:
    file = SECRETS / name
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None
