"""`natscribe mcp` as an assistant uses it: the official client of the Model Context Protocol starts the command."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError
from mcp.types import TextContent, TextResourceContents
from natscribe.mcp_server import MAX_CHARACTERS
from natscribe.mock import Mock
from natscribe.schemas.progress import State

from tests.integration.conftest import Publisher
from tests.programs import BIN
from tests.servers import Servers

HOSTILE = "../../etc/passwd"


@asynccontextmanager
async def assistant(nats_url: str, *options: str) -> AsyncIterator[Client]:
    """An assistant that has started the command."""
    command = StdioServerParameters(
        command=str(BIN / "natscribe"), args=["mcp", *options], env={**os.environ, "NATS_URL": nats_url}
    )
    async with Client(stdio_client(command)) as client:
        yield client


async def answer(client: Client, tool: str, **arguments: object) -> Any:
    """What a tool replies, read from the text for programs that know no structured content."""
    result = await client.call_tool(tool, arguments)
    (content,) = result.content
    assert isinstance(content, TextContent)
    assert not result.is_error, content.text
    return json.loads(content.text) if content.text.startswith("{") else content.text


async def refusal(client: Client, tool: str, **arguments: object) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def test_an_assistant_reads_what_was_said(
    servers: Servers, mock: Mock, publisher: Publisher, meeting: str
) -> None:
    del mock, meeting
    # Given a completed transcription of one user, and a task of another
    await publisher.reaching(State.COMPLETED, "t1", user_id=7, diarize=True)
    await publisher.reaching(State.COMPLETED, "t2", user_id=8)
    async with assistant(servers.nats_url, "--user-id", "7") as client:
        # When it looks for tools, then all of them only read
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == {
            "list_transcripts",
            "search_transcripts",
            "task_status",
            "get_transcript",
        }
        assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
        # And it finds the task of its user alone, and reads it whole and in part
        assert [task["task_id"] for task in (await answer(client, "list_transcripts"))["tasks"]] == ["t1"]
        assert (await answer(client, "task_status", task_id="t1"))["state"] == "completed"
        assert "Nothing searches" in await refusal(client, "search_transcripts", query="morning")
        whole = await answer(client, "get_transcript", task_id="t1")
        later = await answer(
            client, "get_transcript", task_id="t1", start=float(whole["text"].split("\n")[1].split()[0])
        )
        assert later["text"] in whole["text"] != later["text"]
        assert (await answer(client, "get_transcript", task_id="t1", speaker="SPEAKER_77"))["text"] == ""
        # And so does one that reads resources, or asks for minutes
        (content,) = (await client.read_resource("natscribe://tasks/t1")).contents
        assert isinstance(content, TextResourceContents)
        assert content.text == whole["text"]
        assert "t1" in str((await client.get_prompt("minutes", {"task_id": "t1"})).messages)
        # And the other user's task is refused with a sentence, as one that does not exist
        for task_id in ("t2", "unknown"):
            assert f"No task {task_id}" in await refusal(client, "get_transcript", task_id=task_id)
        with pytest.raises(MCPError, match="No task t2"):
            await client.read_resource("natscribe://tasks/t2")


async def test_an_assistant_transcribes_what_is_in_the_folder(servers: Servers, mock: Mock, tmp_path: Path) -> None:
    del mock
    # Given an assistant that may write, and a folder with a recording
    folder = tmp_path / "opened"
    folder.mkdir()
    (folder / "call.flac").write_bytes(b"not looked at")
    (tmp_path / "secret.flac").write_bytes(b"secret")
    (folder / "link.flac").symlink_to(tmp_path / "secret.flac")
    async with assistant(servers.nats_url, "--write", str(folder)) as client:
        # When it transcribes the recording, then there is a task
        task_id = await answer(client, "transcribe", recording="call.flac")
        assert (await answer(client, "task_status", task_id=task_id))["task"]["audio_file_id"]
        # And nothing outside the folder is read
        for hostile in (HOSTILE, "/etc/passwd", "link.flac", "..", "missing.flac"):
            text = await refusal(client, "transcribe", recording=hostile)
            assert "is not in the folder" in text or "There is no file" in text


async def test_a_long_transcript_is_read_in_parts(
    servers: Servers, mock: Mock, publisher: Publisher, meeting: str
) -> None:
    del mock, meeting
    # Given a transcript that is too large for a message
    await publisher.reaching(State.COMPLETED, "large-1")
    async with assistant(servers.nats_url) as client:
        # When an assistant reads it part by part
        parts, start = list[str](), 0.0
        while True:
            part = await answer(client, "get_transcript", task_id="large-1", start=start)
            parts.append(part["text"])
            if part["continue_at"] is None or len(parts) > 3:
                break
            start = part["continue_at"]
    # Then each part has a size that an assistant can take, and none repeats the one before
    assert len(parts) > 1
    assert all(len(text) <= MAX_CHARACTERS for text in parts)
    assert all(before.split("\n")[-1] != after.split("\n")[0] for before, after in pairwise(parts))
