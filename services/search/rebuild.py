"""Builds the index from the streams again: `SEARCH_INDEX=search.db python -m services.search.rebuild`."""

import asyncio
import sys
from contextlib import suppress

from nats.js.errors import NotFoundError
from natscribe.faststream import broker
from natscribe.settings import Settings

from services.search.main import DURABLE, index_path


async def rebuild() -> None:
    """Delete the index and the positions in the streams, so that the service reads them from the start.

    The service must not run meanwhile.
    """
    settings = Settings.read()
    async with broker(settings) as natscribe:
        js = (await natscribe.connect()).jetstream()
        for stream in (settings.stream_names.results, settings.stream_names.erased):
            with suppress(NotFoundError):
                await js.delete_consumer(stream, DURABLE)
    path = index_path()
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        file.unlink(missing_ok=True)


if __name__ == "__main__":
    asyncio.run(rebuild())
    sys.stdout.write("The service reads the streams from the start when it runs again.\n")
