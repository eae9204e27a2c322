"""A cache without Redis."""

from collections.abc import Iterable

from pydantic import BaseModel


class MemoryCache:
    """Caches the results of tasks with the same options for one recording, in pieces for transcripts."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.pieces: dict[str, list[bytes]] = {}

    async def get(self, _task_id: str, _audio_sha256: str, question: str, _kind: object) -> object:
        return self.values.get(question)

    async def put(self, _task_id: str, _audio_sha256: str, question: str, value: object) -> None:
        self.values[question] = value

    async def get_pieces(self, _task_id: str, _audio_sha256: str, question: str) -> list[bytes]:
        return self.pieces.get(question, [])

    async def put_pieces(self, _task_id: str, _audio_sha256: str, question: str, pieces: Iterable[BaseModel]) -> None:
        self.pieces[question] = [piece.model_dump_json().encode() for piece in pieces]
