"""Names of persons are found in a process of their own, which starts with the first text that needs it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.redaction import EntityType

from app.engines.persons import find_persons
from app.engines.process.engine_processes import EngineProcesses
from app.runtime.errors import TransientError
from app.settings import Settings
from tests.integration.engines.children import children, the_child

PERSON = {EntityType.PERSON}
MAX_BYTES = 450 * 1024 * 1024  # of the process


@pytest.fixture
async def engine(engine_settings: Settings) -> AsyncIterator[EngineProcesses]:
    engine = EngineProcesses(engine_settings)
    yield engine
    await engine.close()


async def test_names_are_found_in_a_process_that_starts_for_the_first_text(engine: EngineProcesses) -> None:
    # When a text is redacted without names, then no process starts
    assert await find_persons(engine, "This is John Smith.", "en", {EntityType.PHONE}) == []
    assert children() == []
    # When English and Russian names are redacted
    for text, language, name in (("This is John Smith.", "en", (8, 18)), ("Это Иван Петров.", "ru", (4, 15))):
        found = await find_persons(engine, text, language, PERSON)
        # Then they are found, in one process that stays small
        assert [one.spans for one in found] == [(name,)]
    assert the_child().memory_info().rss < MAX_BYTES


async def test_a_process_that_dies_fails_the_attempt_and_starts_again(engine: EngineProcesses) -> None:
    # Given a process that hangs in a text
    await find_persons(engine, "This is John Smith.", "en", PERSON)
    the_child().suspend()
    finding = asyncio.create_task(find_persons(engine, "This is Jane Brown.", "en", PERSON))
    # When it dies, then the attempt fails
    await asyncio.sleep(0)
    the_child().kill()
    with pytest.raises(TransientError) as caught:
        await finding
    assert caught.value.detail.code is ErrorCode.ENGINE_FAILED
    # And the next attempt has its names
    assert await find_persons(engine, "This is Jane Brown.", "en", PERSON)
