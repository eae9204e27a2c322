"""A disk of its own for one server, whose power can be cut: an ext4 image on a loop device."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from app.command.embedded import free_port
from tests.chaos.faults import Fault
from tests.servers import NatsServer

TOOLS = ("mkfs.ext4", "xfs_io", "mount", "umount")  # of e2fsprogs, xfsprogs and mount
SIZE = 2 * 1024**3  # bytes; the image is sparse
MAX_OFF_S = 2.0


class Disk:
    """An ext4 file system in the file `<folder>.img`, mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._image = folder.with_suffix(".img")

    async def format(self) -> None:
        """Create the file system, and mount it."""
        self.folder.mkdir(parents=True)
        with self._image.open("wb") as image:
            image.truncate(SIZE)
        await _run("mkfs.ext4", "-q", "-F", str(self._image))
        await self.mount()

    async def mount(self) -> None:
        """Mount the file system; the kernel replays its journal."""
        await _run("mount", "-o", "loop", str(self._image), str(self.folder))

    async def shut_down(self) -> None:
        """Have the kernel drop everything that it has not written yet, and refuse all further access."""
        await _run("xfs_io", "-x", "-c", "shutdown", str(self.folder))

    async def unmount(self) -> None:
        """Unmount the file system."""
        await _run("umount", str(self.folder))


@asynccontextmanager
async def nats_on_its_own_disk(
    folder: Path, *, sync_interval: str = "always"
) -> AsyncIterator[tuple[NatsServer, Disk]]:
    """Run a NATS server whose JetStream data is on a disk of its own; skip the test where no disk can be mounted."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"power cuts need {', '.join(missing) or 'root'}")
    disk, server = Disk(folder / "jetstream"), NatsServer(folder, free_port(), sync_interval=sync_interval)
    try:
        await disk.format()
    except DiskError as error:
        pytest.skip(f"power cuts need loop devices: {error}")
    try:
        await server.start()
        yield server, disk
    finally:
        await server.stop()
        await disk.unmount()


async def cut_power(server: NatsServer, disk: Disk, chance: Random) -> Fault:
    """Cut the power of a server and its disk at the same instant, and start both again up to two seconds later."""
    start = datetime.now(UTC)
    server.pause()  # acknowledges nothing more
    await disk.shut_down()
    await server.kill()
    await disk.unmount()
    await asyncio.sleep(chance.uniform(0, MAX_OFF_S))
    await disk.mount()
    await server.start()
    return Fault("server without power", server.folder.name, start, datetime.now(UTC))


class DiskError(Exception):
    """A command has failed; the message is its error output."""


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    if process.returncode:
        message = f"{command[0]}: {errors.decode(errors='replace').strip()}"
        raise DiskError(message)
