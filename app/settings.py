"""Settings: the only module that reads the settings of operators, from the environment and `.env`.

Two variables that belong to other programs are read elsewhere: `XDG_CACHE_HOME` in an engine process, which reads no
settings (`engines/whisper/bundled.py`), and `PROMETHEUS_MULTIPROC_DIR`, which must be set before prometheus_client is
imported (`telemetry/multiprocess.py`).
"""

from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from natscribe.settings import SECRETS, split_address
from natscribe.settings import Settings as Client
from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

VERSION = version("natscribe-service")  # of the service: the client is a package of its own
MOST_WINDOWS = 16  # limit of windows that a model transcribes at once
MOST_LIVE_STREAMS = 48  # the process that hears them takes 64, those of tasks that have just ended included
REPLICAS = (1, 3, 5)  # an even number survives as few lost servers as the odd number below, and NATS allows up to 5
LEAST_LIVE_TTL_S = 120  # NATS refuses a stream that keeps messages for less time than their ids
LEVELS = ("debug", "info", "warning", "error", "critical")


class Share(StrEnum):
    """When an idle worker helps another worker."""

    AUTO = "auto"  # if the machine of the idle worker has a free core
    ALWAYS = "always"
    NEVER = "never"


class Device(StrEnum):
    """The device on which models run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Settings(Client, BaseSettings):
    """All settings of the service, read from the environment, `.env` (UTF-8) and files in /run/secrets."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,  # the input may contain passwords
    )

    nats_max_msgs_per_subject: int = Field(10_000, ge=1)
    nats_replicas: int = Field(1, description="Number of NATS servers that keep a copy of each stream: 1, 3 or 5.")
    priority_lookahead: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of tasks at the head of a queue from which the shortest starts first; 1: publishing order.",
    )
    redis_url: str = "redis://localhost:6379/0"

    task_timeout: float = Field(3600, gt=0, description="Seconds that an attempt may stand still, without progress.")
    task_max_retries: int = Field(3, ge=0, description="Attempts after the first one.")
    task_retry_delay: float = Field(
        30, gt=0, description="Seconds before the first retry; doubled for each further retry."
    )
    task_ack_wait: float = Field(15, gt=0, description="Seconds without a heartbeat until a worker counts as dead.")
    task_heartbeat: float = Field(5, gt=0, description="Seconds between two heartbeats of a worker.")

    task_grace: float = Field(10, ge=0, description="Seconds that a running task has to end after SIGTERM.")

    live_streams: int = Field(
        0, ge=0, le=MOST_LIVE_STREAMS, description="Live tasks at the same time; 0: four for each core."
    )
    live_ttl: float = Field(
        24 * 3600,
        ge=LEAST_LIVE_TTL_S,
        description="Seconds that the sound of live tasks is kept; longer than a live task waits and lasts.",
    )
    live_max_bytes: int = Field(
        0, ge=0, description="Bytes that the sound of all live tasks may take; 0: as much as NATS allows."
    )

    audio_ttl: float = Field(
        30 * 24 * 3600,
        ge=0,
        le=100 * 365 * 24 * 3600,
        description="Seconds after the end of a task until its recording is deleted; 0: never. Folders and web servers "
        "are only read.",
    )
    audio_max_seconds: float = Field(24 * 3600, gt=0)
    audio_max_decode_seconds: float = Field(600, gt=0, description="Seconds of CPU time that reading may take.")
    diarization_max_seconds: float = Field(4 * 3600, gt=0)

    voice_threshold: float = Field(
        0.6, ge=-1, le=1, description="How alike a speaker and a voice have to be before the speaker gets its name."
    )
    voice_margin: float = Field(
        0.1, ge=0, le=2, description="By how much a voice has to be more like the speaker than any other voice is."
    )

    cache_ttl: float = Field(
        7 * 24 * 3600, ge=0, description="Seconds that the cache keeps what engines found in a recording; 0: no cache."
    )

    transcription_model: str | None = Field(
        None, description="Name or folder of a model; null: the bundled whisper-base."
    )
    transcription_models: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Published models that tasks may name, separated by commas, besides the configured model and those "
        "in TRANSCRIPTION_MODELS_DIR.",
    )
    transcription_models_dir: Path | None = Field(
        None, description="Folder with a folder for each model that tasks may name besides."
    )
    share_windows: Share = Field(
        Share.AUTO, description="Whether idle workers help another worker with a long recording."
    )
    engine_device: Device = Field(Device.AUTO, description="Device on which models run; auto: a GPU if there is one.")
    engine_compute_type: str | None = Field(
        None,
        description="Precision of a transcription model; null: int8 on a CPU, float16 on a GPU. Families differ.",
    )
    engine_threads: int = Field(1, ge=1, description="CPU threads that transcribe one window.")
    engine_parallel: int = Field(
        0,
        ge=0,
        le=MOST_WINDOWS,
        description="Windows transcribed at the same time on CPUs; 0: as many as the cores allow.",
    )
    engine_beam: int = Field(5, ge=1, le=20, description="Candidate texts that are compared for a window.")
    engine_batch: int = Field(
        4, ge=1, le=MOST_WINDOWS, description="Largest number of windows in one batch of a model."
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="Address that receives traces (OTLP over HTTP); null: no traces."
    )
    log_level: str = "INFO"

    @model_validator(mode="after")
    def _heartbeat_in_time(self) -> "Settings":
        if self.task_heartbeat >= self.task_ack_wait:
            message = "TASK_HEARTBEAT must be below TASK_ACK_WAIT, or every running task counts as lost"
            raise ValueError(message)
        return self

    @field_validator("transcription_models_dir")
    @classmethod
    def _is_folder(cls, folder: Path | None) -> Path | None:
        if folder is not None and not folder.is_dir():
            message = f"there is no folder {folder}"
            raise ValueError(message)
        return folder

    @field_validator("transcription_models", mode="before")
    @classmethod
    def _is_a_list(cls, names: object) -> object:
        return tuple(filter(None, map(str.strip, names.split(",")))) if isinstance(names, str) else names

    @field_validator("nats_replicas")
    @classmethod
    def _is_odd(cls, replicas: int) -> int:
        if replicas not in REPLICAS:
            message = "write 1, 3 or 5"
            raise ValueError(message)
        return replicas

    @field_validator("redis_url")
    @classmethod
    def _is_of_redis(cls, url: str) -> str:
        if split_address(url).scheme not in {"redis", "rediss", "unix"}:
            message = "write redis://HOST:PORT/DATABASE, rediss:// with TLS, or unix://PATH"
            raise ValueError(message)
        return url

    @field_validator("log_level")
    @classmethod
    def _is_a_level(cls, level: str) -> str:
        if level.lower() not in LEVELS:
            message = f"write one of {', '.join(LEVELS)}"
            raise ValueError(message)
        return level

    @property
    def max_attempts(self) -> int:
        """How many attempts a task has: the first one and the retries."""
        return 1 + self.task_max_retries

    @property
    def recordings_are_erasable(self) -> bool:
        """Whether the service may remove recordings: it only reads folders and web servers."""
        return self.audio_store.startswith(("nats:", "s3:"))

    @property
    def audio_erased_after_s(self) -> float | None:
        """Seconds from the end of a task until its recording is erased, 0: never; None: the service only reads it."""
        return self.audio_ttl if self.recordings_are_erasable else None
