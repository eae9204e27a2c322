"""Settings: the one place where what operators may set is read, from the environment and `.env`.

Two names are others' and read where they are needed: `XDG_CACHE_HOME` in an engine process, which reads no settings
(`engines/bundled.py`), and `PROMETHEUS_MULTIPROC_DIR` before its library is imported (`telemetry/siblings.py`).
"""

import re
import sys
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.problems import first_problem

SECRETS = Path("/run/secrets")  # where container engines put them, one file a setting; the environment goes first
STEM_SUFFIX = "_tasks"
MOST_WINDOWS = 16  # that a model transcribes at once: a worker that helps refuses to be sent more
STORE = re.compile(r"nats://[A-Za-z0-9_-]+|file:///.*")
LEVELS = ("debug", "info", "warning", "error", "critical")


class Share(StrEnum):
    """When an idle worker helps another one."""

    AUTO = "auto"  # when a core is free on its machine
    ALWAYS = "always"
    NEVER = "never"


class Device(StrEnum):
    """Where models run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Settings(BaseSettings):
    """All that an operator may choose, read from the environment, `.env` (UTF-8) and files in /run/secrets."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,  # it holds passwords
    )

    nats_url: str = "nats://localhost:4222"
    nats_user: str | None = None
    nats_password: SecretStr | None = None
    nats_creds_file: FilePath | None = None
    nats_tls_ca_file: FilePath | None = None
    nats_inbox_prefix: str = Field(
        "_INBOX", pattern=r"^[A-Za-z0-9_.-]+$", description="Prefix of the inboxes in which a client receives replies."
    )
    nats_stream_name: str = Field("transcription_tasks", pattern=r"^[A-Za-z0-9_-]+$")
    nats_consumer_name: str = Field("transcription_worker", pattern=r"^[A-Za-z0-9_-]+$")
    nats_max_msgs_per_subject: int = Field(10_000, ge=1)
    priority_lookahead: int = Field(
        1,
        ge=1,
        le=64,
        description="Of so many waiting tasks of one queue the shortest begins first; 1: in the order of publishing.",
    )
    redis_url: str = "redis://localhost:6379/0"

    task_timeout: float = Field(3600, gt=0, description="Seconds one attempt may run.")
    task_max_retries: int = Field(3, ge=0, description="Further attempts after the first.")
    task_retry_delay: float = Field(30, gt=0, description="Seconds before the first retry; doubles.")
    task_ack_wait: float = Field(15, gt=0, description="Seconds until a silent worker counts as dead.")
    task_heartbeat: float = Field(5, gt=0, description="Seconds between a worker's signs of life.")

    task_grace: float = Field(10, ge=0, description="Seconds a running task has to end after SIGTERM.")

    audio_store: str = "nats://audio"
    audio_ttl: float = Field(0, ge=0, description="Seconds after which recordings in the bucket go; 0: kept.")
    audio_max_bytes: int = Field(4 * 1024**3, gt=0)
    audio_max_seconds: float = Field(24 * 3600, gt=0)
    audio_max_decode_seconds: float = Field(600, gt=0, description="Seconds that decoding a recording may take.")
    diarization_max_seconds: float = Field(4 * 3600, gt=0)

    cache_ttl: float = Field(
        7 * 24 * 3600, ge=0, description="Seconds that what was found in a recording is kept in Redis; 0: not at all."
    )

    transcription_model: str | None = Field(None, description="Name or folder; null: the bundled base.")
    transcription_models_dir: Path | None = None
    share_windows: Share = Field(
        Share.AUTO, description="Whether idle workers help with a long recording of another one: auto, always or never."
    )
    engine_device: Device = Field(Device.AUTO, description="Where models run; auto: on a GPU where there is one.")
    engine_compute_type: str | None = Field(
        None,
        pattern=r"^(int8|int8_float16|int8_bfloat16|int8_float32|int16|float16|bfloat16|float32)$",
        description="How exactly a transcription model computes; null: int8 on a CPU, float16 on a GPU.",
    )
    engine_threads: int = Field(1, ge=1, description="CPU threads that a window is transcribed on.")
    engine_parallel: int = Field(
        0,
        ge=0,
        le=MOST_WINDOWS,
        description="Windows transcribed at the same time on CPUs; 0: as many as fit the cores.",
    )
    engine_beam: int = Field(5, ge=1, le=20, description="How many texts of a window are weighed against each other.")
    engine_batch: int = Field(
        4, ge=1, le=MOST_WINDOWS, description="Windows that a model transcribes at once, at most."
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="Where traces go (OTLP over HTTP); null: nowhere."
    )
    log_level: str = "INFO"

    @model_validator(mode="after")
    def _heartbeat_in_time(self) -> "Settings":
        if self.task_heartbeat >= self.task_ack_wait:
            message = "TASK_HEARTBEAT must be below TASK_ACK_WAIT, or every running task counts as lost"
            raise ValueError(message)
        return self

    @field_validator("nats_url", "redis_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        try:
            _ = urlsplit(url).port
        except ValueError as error:
            message = "write SCHEME://HOST:PORT with a port up to 65535, and what is special in a password as %XX"
            raise ValueError(message) from error
        return url

    @field_validator("redis_url")
    @classmethod
    def _is_of_redis(cls, url: str) -> str:
        if urlsplit(url).scheme not in {"redis", "rediss", "unix"}:
            message = "write redis://HOST:PORT/DATABASE, rediss:// with TLS, or unix://PATH"
            raise ValueError(message)
        return url

    @field_validator("audio_store")
    @classmethod
    def _is_a_store(cls, url: str) -> str:
        if not STORE.fullmatch(url):
            message = "write nats://BUCKET or file:///FOLDER"
            raise ValueError(message)
        return url

    @field_validator("log_level")
    @classmethod
    def _is_a_level(cls, level: str) -> str:
        if level.lower() not in LEVELS:
            message = f"it is one of {', '.join(LEVELS)}"
            raise ValueError(message)
        return level

    @property
    def max_attempts(self) -> int:
        """The first attempt and the retries."""
        return 1 + self.task_max_retries

    @property
    def stem(self) -> str:
        """What the names of all streams begin with."""
        return self.nats_stream_name.removesuffix(STEM_SUFFIX)


def read_settings() -> Settings:
    """The settings of a worker; a wrong one ends the process with one sentence."""
    try:
        return Settings()
    except ValidationError as error:
        sys.exit(wrong_setting(error))


def wrong_setting(error: ValidationError) -> str:
    """Say which setting is wrong, by the name that it has in the environment."""
    name = "".join(str(part) for part in error.errors(include_input=False)[0]["loc"])  # none: several together
    where = f"The setting {name.upper()}" if name else "A setting"
    what = first_problem(error).removeprefix(f"{name}: ")
    return f"{where} is wrong: {what}. Correct it in the environment or in .env."
