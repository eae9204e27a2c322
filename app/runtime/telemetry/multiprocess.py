"""The folder in which the processes of a worker with `--workers N` share metrics, so that each can expose all of them.

Import this module before `prometheus_client`, which reads the folder's name when it is imported.
"""

import os
import tempfile
from multiprocessing import parent_process
from pathlib import Path

from app.runtime.temporary import PREFIX

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # environment variable that prometheus_client reads

_parent = parent_process()
if _parent is not None and FOLDER not in os.environ:
    _folder = Path(tempfile.gettempdir()) / f"{PREFIX}{_parent.pid}-metrics"
    _folder.mkdir(mode=0o700, exist_ok=True)
    if _folder.stat().st_uid == os.getuid():  # otherwise another user has created the folder
        os.environ[FOLDER] = str(_folder)


def shared_folder() -> Path | None:
    """Return the folder in which the processes of `--workers N` share metrics; None for a single process."""
    name = os.environ.get(FOLDER)
    return Path(name) if name else None
