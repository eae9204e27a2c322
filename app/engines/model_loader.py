"""Loads the model of an engine: at the start, and after a cancellation that has killed the engine's process."""

import structlog

from app.engines.engine import Engine
from app.engines.messages import Loaded
from app.runtime.errors import TaskError

log = structlog.get_logger()


class ModelLoader:
    """Loads the model of `engine` whenever none is loaded."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._last: Loaded | None = None  # None: the last attempt to load it has failed

    @property
    def model(self) -> Loaded | None:
        """The model that is loaded, or was until a cancellation killed its process; it is then loaded again."""
        return self.engine.loaded or self._last

    async def load(self) -> None:
        """Load the model if none is loaded; an error is only logged."""
        if self.engine.loaded:
            return
        try:
            await self.engine.load()
        except TaskError as error:
            self._last = None
            log.error("model_load_failed", error=error.detail.message)  # noqa: TRY400 -- the message is for operators, and needs no traceback
            return
        if (loaded := self.engine.loaded) is not None:
            self._last = loaded
            log.info("model_loaded", model=loaded.model.name, fingerprint=loaded.fingerprint)
