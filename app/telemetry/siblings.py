"""Siblings: the processes of one `--workers N`, which show their figures as one through a folder they share.

Import this before `prometheus_client`, which decides at its own import where it keeps its figures.
"""

import os
import tempfile
from multiprocessing import parent_process
from pathlib import Path

from app.temporary import PREFIX

FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_parent = parent_process()
if _parent is not None and FOLDER not in os.environ:
    _folder = Path(tempfile.gettempdir()) / f"{PREFIX}{_parent.pid}-metrics"
    _folder.mkdir(mode=0o700, exist_ok=True)
    if _folder.stat().st_uid == os.getuid():  # another user's would be refused, or worse, be read
        os.environ[FOLDER] = str(_folder)


def shared_folder() -> Path | None:
    """Where the siblings keep their figures; None for a process that has none."""
    found = os.environ.get(FOLDER)
    return Path(found) if found else None
