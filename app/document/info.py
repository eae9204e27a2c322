"""The description at the head of the AsyncAPI document, with the limits of this deployment."""

from dataclasses import asdict
from importlib.resources import files
from string import Template
from typing import Final

from natscribe.jetstream.streams import DUPLICATE_WINDOW_S, RESULTS_BUCKET, TASK_TTL_S
from natscribe.schemas.channels import Tag

from app.document.messages import Node
from app.settings import Settings
from app.storage.jetstream import streams

_DAY: Final = 24 * 3600


def info(title: str, version: str, settings: Settings) -> Node:
    """Return the head of the document; its description has stream names, limits and times of this deployment."""
    text = files(__package__).joinpath("info.md").read_text(encoding="utf-8")
    return {
        "title": title,
        "version": version,
        "description": Template(text).substitute(_facts(settings)),
        "tags": [{"name": tag.value, "description": tag.meaning} for tag in Tag],
    }


def _facts(settings: Settings) -> dict[str, str]:
    names = settings.stream_names
    retention = {config.name: f"{(config.max_age or 0) / _DAY:g}" for config in streams.stream_configs(settings)}
    upload, recordings = _recordings(settings)
    return asdict(names) | {
        "put": upload,
        "recordings": recordings,
        "events": retention[names.progress],
        "kept": retention[names.results],
        "letters": retention[names.dead_letters],
        "large": RESULTS_BUCKET,
        "window": f"{DUPLICATE_WINDOW_S:g}",
        "expires": f"{TASK_TTL_S / _DAY:g}",
        "queue_limit": str(settings.nats_max_msgs_per_subject),
        "attempts": str(settings.max_attempts),
        "timeout": f"{settings.task_timeout:g}",
        "bytes": str(settings.audio_max_bytes),
        "seconds": f"{settings.audio_max_seconds:g}",
        "diarization": f"{settings.diarization_max_seconds:g}",
    }


def _recordings(settings: Settings) -> tuple[str, str]:
    """Return two texts for `info.md`: where publishers upload recordings, and how long recordings are retained."""
    kind, _, name = settings.audio_store.partition("://")
    stores = {"nats": f"the Object Store bucket `{name}`", "s3": f"S3, below `{settings.audio_store}`"}
    if kind in stores:
        return f"Upload the recording to {stores[kind]}, under a name of your choice.", _recordings_ttl(settings)
    if kind == "https":
        return "The operator puts recordings on a web server.", "decided by the owner of the web server"
    return "The operator puts recordings into the folder of the service.", "decided by the owner of the folder"


def _recordings_ttl(settings: Settings) -> str:
    if not settings.audio_ttl:
        return "until they are deleted, by `tasks.delete` or by you"
    return f"{settings.audio_ttl / _DAY:g} days after the end of their last task"
