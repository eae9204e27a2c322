"""The names of the speech models that tasks may request."""

from pathlib import Path
from typing import Protocol

from app.engines.whisper import bundled


class ModelSettings(Protocol):
    """The settings that select models; see `Settings`."""

    @property
    def transcription_model(self) -> str | None:
        """The name or folder of the configured model."""

    @property
    def transcription_models(self) -> tuple[str, ...]:
        """The names of further published models."""

    @property
    def transcription_models_dir(self) -> Path | None:
        """The folder of further models."""


def offered_models(settings: ModelSettings) -> set[str]:
    """Return the names that tasks may give as `model`.

    They are the bundled model, the models in TRANSCRIPTION_MODELS, those in folders inside TRANSCRIPTION_MODELS_DIR,
    and the configured model if it has a name.
    """
    configured, folder = settings.transcription_model, settings.transcription_models_dir
    offered = {bundled.NAME, *settings.transcription_models}
    if configured is not None and not Path(configured).is_dir():
        offered.add(configured)
    if folder is not None and folder.is_dir():
        inside = (path for path in folder.iterdir() if path.resolve().parent == folder.resolve())
        offered |= {path.name for path in inside if path.is_dir()}
    return offered
