"""The names of the speech models that tasks may request."""

from collections.abc import Iterable
from pathlib import Path

from app.engines.whisper import bundled


def offered_models(configured: str | None, published: Iterable[str], folder: Path | None) -> set[str]:
    """Return the names that tasks may give as `model`, with that of the bundled model.

    `configured`: the configured model, which tasks may request unless it is a folder. `published`: further published
    models. `folder`: the folder with one subfolder for each further model.
    """
    offered = {bundled.NAME, *published}
    if configured is not None and not Path(configured).is_dir():
        offered.add(configured)
    if folder is not None and folder.is_dir():
        inside = (path for path in folder.iterdir() if path.resolve().parent == folder.resolve())
        offered |= {path.name for path in inside if path.is_dir()}
    return offered
