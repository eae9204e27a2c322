"""Find the speech model that a task requests: check that tasks may request it, and choose the family that loads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.engines.family import IncompleteModelError, LocalModel, ModelFamily, unknown_model
from app.engines.messages import Setup
from app.engines.offered_models import offered_models
from app.engines.onnx import family as onnx
from app.engines.whisper import bundled
from app.engines.whisper import family as whisper
from app.runtime.errors import PermanentError

FAMILIES: tuple[ModelFamily, ...] = (whisper, onnx)


@dataclass(frozen=True)
class ModelCatalog:
    """The speech models that this service may load.

    Tasks may name the bundled model, the models in TRANSCRIPTION_MODELS, the models in folders inside
    TRANSCRIPTION_MODELS_DIR, and the configured model if it has a name.
    """

    setup: Setup
    families: Sequence[ModelFamily] = FAMILIES

    def find(self, name: str | None) -> LocalModel:
        """Find the model `name`, and download it if necessary; None: the configured model.

        Raises:
            PermanentError: unknown_model: no model has this name, tasks may not name it, or its files are incomplete or
                cannot be downloaded.
        """
        if name is not None:
            self._check_offered(name)
            return self._named(name)
        configured = self.setup.transcription_model
        if configured is not None and Path(configured).is_dir():
            return self._in_folder(Path(configured), Path(configured).resolve().name)
        return self._named(configured or bundled.NAME)

    def _check_offered(self, name: str) -> None:
        setup = self.setup
        offered = offered_models(setup.transcription_model, setup.transcription_models, setup.transcription_models_dir)
        if name in {*offered, *bundled.NAMES}:
            return
        message = (
            f"The model {name!r} is not offered here: leave `model` out or name one of {', '.join(sorted(offered))};"
            " the service's operator offers more in TRANSCRIPTION_MODELS."
        )
        raise unknown_model(message)

    def _named(self, name: str) -> LocalModel:
        own = self._own_folder(name)
        if own is not None:
            return self._in_folder(own, name)
        for family in self.families:
            if family.publishes(name):
                return self._in_folder(self._fetched(family, name), name)
        examples = " or ".join(repr(family.EXAMPLE) for family in self.families)
        message = (
            f"The model {name!r} is not known: the operator must name a published one such as {examples}, or a folder"
            " (docs/models.md)."
        )
        raise unknown_model(message)

    def _fetched(self, family: ModelFamily, name: str) -> Path:
        try:
            return family.fetch(name, self.setup.engine_compute_type)
        except PermanentError:
            raise
        except Exception as error:
            message = (
                f"The model {name!r} cannot be downloaded from the model hub: request the service's own model,"
                " or let the operator put it into TRANSCRIPTION_MODELS_DIR."
            )
            raise unknown_model(message) from error

    def _in_folder(self, folder: Path, name: str) -> LocalModel:
        try:
            for family in self.families:
                if weights := family.detect(folder, name, self.setup.engine_compute_type):
                    return weights
        except IncompleteModelError as error:
            message = f"The model {name!r} is not complete: the operator must add {error} to its folder."
            raise unknown_model(message) from error
        needed = ", or ".join(family.NEEDED for family in self.families)
        message = f"The model {name!r} is of unknown kind: the operator must give its folder {needed} (docs/models.md)."
        raise unknown_model(message)

    def _own_folder(self, name: str) -> Path | None:
        models = self.setup.transcription_models_dir
        if models is None or name in {".", ".."} or "\0" in name or Path(name).name != name:
            return None
        folder = models / name
        inside = folder.resolve().parent == models.resolve()
        return folder if inside and folder.is_dir() else None
