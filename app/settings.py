"""Settings: the only module that reads what operators configure, from the environment, `.env` and secret files.

Two variables of other programs are read elsewhere: `XDG_CACHE_HOME` in an engine process, which reads no
settings (`engines/whisper/bundled.py`), and `PROMETHEUS_MULTIPROC_DIR`, which must be set before prometheus_client is
imported (`telemetry/multiprocess.py`).
"""

from enum import StrEnum
from importlib.metadata import version
from typing import Annotated, Literal

from natscribe.jetstream.streams import ERASED_TTL_S, RESULTS_TTL_S
from natscribe.settings import SECRETS, split_address
from natscribe.settings import Settings as Client
from pydantic import BeforeValidator, DirectoryPath, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

VERSION = version("natscribe-service")  # of the service: the client is a package of its own
MOST_WINDOWS = 16  # limit of windows that a model transcribes at once
MOST_LIVE_STREAMS = 48  # the decoding process accepts 64, but streams of tasks that have just ended count, too
REPLICAS = (1, 3, 5)  # an even number tolerates no more lost servers than the next lower number; NATS allows up to 5
LEAST_LIVE_TTL_S = 120  # NATS refuses a stream with a shorter maximum age than its duplicate window


class Share(StrEnum):
    """The values of SHARE_WINDOWS: when an idle worker transcribes parts of another worker's recording."""

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

    nats_max_msgs_per_subject: int = Field(10_000, ge=1, description="Largest number of tasks in a task queue.")
    nats_replicas: int = Field(1, description="Number of NATS servers that store a copy of each stream: 1, 3 or 5.")
    user_max_running: int = Field(
        0, ge=0, description="Largest number of running tasks of a user whose quota does not set it; 0: no limit."
    )
    user_max_waiting: int = Field(
        0, ge=0, description="Largest number of waiting tasks of a user whose quota does not set it; 0: no limit."
    )
    redis_url: str = Field("redis://localhost:6379/0", description="Address of the Redis or Valkey server.")

    task_timeout: float = Field(3600, gt=0, description="Seconds without progress after which an attempt is stopped.")
    task_max_retries: int = Field(3, ge=0, description="Largest number of attempts at a task after the first one.")
    task_retry_delay: float = Field(
        30, gt=0, description="Seconds before the first retry of a task; doubled before each further retry."
    )
    task_ack_wait: float = Field(
        15, gt=0, description="Seconds without a heartbeat until another worker gets the task."
    )
    task_heartbeat: float = Field(5, gt=0, description="Seconds between two heartbeats of a running task.")

    task_grace: float = Field(10, ge=0, description="Seconds for which a worker continues its tasks after SIGTERM.")

    live_streams: int = Field(
        0,
        ge=0,
        le=MOST_LIVE_STREAMS,
        description="Most live tasks of a worker at the same time; 0: four for each core.",
    )
    live_ttl: float = Field(
        24 * 3600,
        ge=LEAST_LIVE_TTL_S,
        description="Seconds after which live audio is deleted; must exceed the time that a live task waits and runs.",
    )
    live_max_bytes: int = Field(
        0, ge=0, description="Bytes that the audio of all live tasks may occupy; 0: as many as NATS allows."
    )

    audio_ttl: float = Field(
        30 * 24 * 3600,
        ge=0,
        le=100 * 365 * 24 * 3600,
        description="Seconds after the end of a task until its recording is deleted; 0: never. Recordings in folders "
        "and on web servers are never deleted.",
    )
    erased_ttl: float = Field(
        ERASED_TTL_S,
        ge=RESULTS_TTL_S,
        description="Seconds for which the event that a task was erased is stored, for followers that were away.",
    )
    audio_max_seconds: float = Field(24 * 3600, gt=0, description="Longest audio that is transcribed, in seconds.")
    audio_max_decode_seconds: float = Field(600, gt=0, description="CPU seconds that decoding a recording may take.")
    diarization_max_seconds: float = Field(4 * 3600, gt=0, description="Longest audio that is diarized, in seconds.")

    voice_threshold: float = Field(
        0.6, ge=-1, le=1, description="Least similarity to an enrolled voice with which a speaker is recognized."
    )
    voice_margin: float = Field(
        0.1, ge=0, le=2, description="Least difference between the similarities of the best and the second-best voice."
    )

    cache_ttl: float = Field(
        7 * 24 * 3600, ge=0, description="Seconds for which the cache stores transcripts and turns; 0: no cache."
    )

    transcription_model: str | None = Field(
        None, description="Name of a published model, or folder of a model; null: the bundled whisper-base."
    )
    transcription_models: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Published models that tasks may name, separated by commas, besides the configured model and the "
        "models in TRANSCRIPTION_MODELS_DIR.",
    )
    transcription_models_dir: DirectoryPath | None = Field(
        None, description="Folder with one subfolder for each further model that tasks may name."
    )
    share_windows: Share = Field(
        Share.AUTO, description="Whether idle workers transcribe parts of another worker's long recording."
    )
    engine_device: Device = Field(Device.AUTO, description="Device on which models run; auto: a GPU if there is one.")
    engine_compute_type: str | None = Field(
        None,
        description="Precision of Whisper models; null: int8 on a CPU, float16 on a GPU. For other models: the "
        "precision of the files to load; null: full precision.",
    )
    engine_threads: int = Field(1, ge=1, description="CPU threads that transcribe one window (up to 20 s of speech).")
    engine_parallel: int = Field(
        0,
        ge=0,
        le=MOST_WINDOWS,
        description="Windows transcribed at the same time on CPUs; 0: as many as the cores allow.",
    )
    engine_beam: int = Field(5, ge=1, le=20, description="Beam size: number of candidate texts compared for a window.")
    engine_batch: int = Field(
        4, ge=1, le=MOST_WINDOWS, description="Largest number of windows that a model transcribes in one batch."
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="Address that receives traces (OTLP over HTTP); null: no traces."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(str.lower)] = "info"

    @model_validator(mode="after")
    def _check_heartbeat(self) -> "Settings":
        if self.task_heartbeat >= self.task_ack_wait:
            message = "TASK_HEARTBEAT must be below TASK_ACK_WAIT, or every running task counts as lost"
            raise ValueError(message)
        return self

    @field_validator("transcription_models", mode="before")
    @classmethod
    def _split_list(cls, names: object) -> object:
        return tuple(filter(None, map(str.strip, names.split(",")))) if isinstance(names, str) else names

    @field_validator("nats_replicas")
    @classmethod
    def _check_replicas(cls, replicas: int) -> int:
        if replicas not in REPLICAS:
            message = "write 1, 3 or 5"
            raise ValueError(message)
        return replicas

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: str) -> str:
        if split_address(url).scheme not in {"redis", "rediss", "unix"}:
            message = "write redis://HOST:PORT/DATABASE, rediss:// with TLS, or unix://PATH"
            raise ValueError(message)
        return url

    @property
    def max_attempts(self) -> int:
        """The largest number of attempts at a task: the first one and its retries."""
        return 1 + self.task_max_retries

    @property
    def recordings_are_erasable(self) -> bool:
        """Whether the service can delete recordings: it can in buckets, but it only reads folders and web servers."""
        return self.audio_store.startswith(("nats:", "s3:"))

    @property
    def audio_erased_after_s(self) -> float | None:
        """Seconds from the end of a task until its recording is erased; 0: never; None: the service cannot erase it."""
        return self.audio_ttl if self.recordings_are_erasable else None
