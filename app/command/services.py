"""The services on top of the events that `natscribe up --with` runs next to its worker."""

import os
import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from natscribe.client import ClientError

from app.command.embedded import GuardedProcess

SERVICES: Final = ("search", "forward")
_EXTRAS: Final = {"search": "apsw"}  # a package of the extra of the same name, which the service needs
_GRACE_S: Final = 10.0  # a service that does not stop is killed after this time


def check_services(names: Collection[str]) -> None:
    """Check that there are services with these names, and that they can run here.

    Raises:
        ClientError: There is no such service, or its packages are not installed.
    """
    for name in names:
        if name not in SERVICES:
            what = f"There is no service {name!r}"
            raise ClientError(what, f"choose from {', '.join(SERVICES)}")
        if name in _EXTRAS and find_spec(_EXTRAS[name]) is None:
            what = f"The packages of {name} are not installed"
            raise ClientError(what, f"install natscribe-service[{name}]")


def service(name: str, data: Path, addresses: Mapping[str, str]) -> Callable[[], GuardedProcess]:
    """Return what starts a service, again with the same data.

    `data`: the folder for files that its settings do not name. `addresses`: of the servers, as NATS_URL and REDIS_URL.
    """
    files = {"SEARCH_INDEX": str(data / "search.db"), "FORWARD_FOLDER": str(data / "dead_letters")}
    command = [sys.executable, "-m", "faststream", "run", f"services.{name}.main:create_app", "--factory"]
    command += ["--log-level", "warning"]  # of each request there would be two lines
    env = {**files, **os.environ, **addresses}
    return partial(GuardedProcess, command, lock=data / f"{name}.lock", grace=_GRACE_S, env=env)
