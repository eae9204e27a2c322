"""Names of persons in a text, as the engine finds them."""

from collections.abc import Collection

from natscribe.schemas.redaction import EntityType

from app.engines.engine import Engine, run_job
from app.engines.messages import FindPersons, PersonsFound
from app.engines.text.redaction.found import Found


async def find_persons(engine: Engine, text: str, language: str | None, types: Collection[EntityType]) -> list[Found]:
    """Return the names of persons in a text, if they are among the types to redact.

    Raises:
        TaskError: The engine failed.
    """
    if EntityType.PERSON not in types or not text.strip():
        return []
    return (await run_job(engine, FindPersons(text=text, language=language), PersonsFound)).found
