"""The AsyncAPI document agrees with the code, and is complete."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faststream.nats import NatsBroker
from faststream.specification import AsyncAPI
from natscribe.jetstream.streams import stored_subjects
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.wire import TASK_ID_PATTERN, Input, Kind, Priority
from pydantic import TypeAdapter

from app.document import Document
from app.document.messages import MESSAGES, MessageDescription
from app.main import Worker
from app.settings import Settings
from app.storage.jetstream import streams
from tests.document import COMPONENTS, DOCUMENT, ROOT, names, validator
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.xdist_group("specification")  # FastStream generates the document once

EXAMPLES = [
    pytest.param(message, example, id=f"{message['name']}-{example['name']}")
    for message in COMPONENTS["messages"].values()
    for example in message["examples"]
]


def test_asyncapi_yaml_is_up_to_date(tmp_path: Path) -> None:
    # Given an environment without reachable servers, and the defaults of all else
    defaults = {name.upper(): str(value) for name, value in Settings(_env_file=None).model_dump().items() if value}
    unreachable = {"NATS_URL": "nats://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1/0"}
    faststream = Path(sys.executable).parent / "faststream"
    written = tmp_path / "asyncapi.yaml"
    # When the document is generated
    command = [str(faststream), "docs", "gen", "app.main:app", "--yaml", "--out", str(written)]
    environment = os.environ | defaults | unreachable
    subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)
    # Then it is the one in the repository
    assert written.read_text(encoding="utf-8") == (ROOT / "asyncapi.yaml").read_text(encoding="utf-8"), "run: make spec"


OF_EACH_WORKER = {"askWorkers", "discoverServices", "discoverService", "discoverInstance"}


def test_a_request_gets_a_reply_or_an_error_from_one_worker() -> None:
    requests = {name: operation for name, operation in DOCUMENT["operations"].items() if "reply" in operation}
    assert all({"ErrorReply"} < set(names(operation["reply"]["messages"])) for operation in requests.values())
    # One worker of the group replies, except if each does
    of_group = {"nats": {"queue": "natscribe", "bindingVersion": "0.1.0"}}
    for name, operation in requests.items():
        assert operation.get("bindings") == (None if name in OF_EACH_WORKER else of_group)


def test_parameters_are_those_of_the_subjects() -> None:
    parameters = COMPONENTS["parameters"]
    assert parameters["priority"]["enum"] == [*Priority]
    assert parameters["kind"]["enum"] == [*Kind]
    assert parameters["task_id"]["x-pattern"] == TASK_ID_PATTERN
    for channel in DOCUMENT["channels"].values():
        assert set(channel.get("parameters", ())) == set(re.findall(r"\{(\w+)\}", channel["address"] or ""))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_a_payload_has_the_schema_of_its_class(message: MessageDescription) -> None:
    # Given the schema that the code itself has of the payload
    described = COMPONENTS["messages"][message.name]["payload"]
    if message.payload in {str, bytes}:
        assert (described["type"], described.get("format")) == (
            "string",
            "binary" if message.payload is bytes else None,
        )
        return
    schema = TypeAdapter(message.payload).json_schema(mode="serialization")
    # Then the document has the same fields, types, limits and required fields
    assert _bare(COMPONENTS["schemas"][described["$ref"].rpartition("/")[2]]) == _bare(schema)
    # And unknown fields are refused in inputs only
    assert (schema.get("additionalProperties") is False) is issubclass(message.payload, Input)


def _bare(node: object) -> object:
    """A schema without titles, descriptions and examples."""
    if isinstance(node, dict):
        dropped = {"title", "description", "examples", "$defs"}
        return {
            name: value.rpartition("/")[2] if name == "$ref" else _bare(value)
            for name, value in node.items()
            if name not in dropped or not isinstance(value, str | list | dict) or "properties" in node.get(name, ())
        }
    return [_bare(value) for value in node] if isinstance(node, list) else node


@pytest.mark.parametrize(("message", "example"), EXAMPLES)
def test_an_example_matches_its_schema(message: dict[str, Any], example: dict[str, Any]) -> None:
    assert set(example) & {"payload", "headers"}
    if "payload" in example:
        validator(message["name"], "payload", closed=True).validate(example["payload"])
    if "headers" in example:
        validator(message["name"], "headers", closed=True).validate(example["headers"])


def test_every_error_code_and_state_has_its_meaning() -> None:
    for enum in (ErrorCode, State):
        schema = COMPONENTS["schemas"][enum.__name__]
        assert schema["enum"] == [*enum]
        assert schema["x-enum-descriptions"] == [term.meaning for term in enum]
        assert all(f"`{term}`: {term.meaning}" in schema["description"] for term in enum)


def test_x_nats_describes_the_streams_and_consumers_of_the_service() -> None:
    # Given the streams that the service creates
    settings = Settings(_env_file=None)
    internal = {settings.stream_names.retention, settings.stream_names.ready}
    created = {config.name: config for config in streams.stream_configs(settings) if config.name not in internal}
    described = [channel["x-nats"] for channel in DOCUMENT["channels"].values() if "x-nats" in channel]
    # Then each stream is described, with its subjects and its retention
    assert {facts["stream"] for facts in described} == set(created)
    for name, config in created.items():
        facts = [fact for fact in described if fact["stream"] == name]
        stored = set(stored_subjects(config)) - {subjects.no_results("*")}  # which is published nowhere
        assert sorted(subject for fact in facts for subject in fact["subjects"]) == sorted(stored)
        assert {fact["maxAgeSeconds"] for fact in facts} == {config.max_age}
        assert {fact["retention"] for fact in facts} == {config.retention}
        assert {fact["duplicateWindowSeconds"] for fact in facts} == {config.duplicate_window}
    # And so is each durable consumer
    durables = {consumer["durable"] for fact in described for consumer in fact.get("consumersOfTheService", ())}
    public = [config.durable_name for name, config in streams.consumer_configs(settings) if name not in internal]
    assert durables == set(public) - {settings.stream_names.ended_tasks}
    # And so are both buckets
    assert set(DOCUMENT["x-nats"]["objectStoreBuckets"]) == {"audio", "results"}


def test_the_document_reveals_no_server_address() -> None:
    # Given a worker with several addresses and a password
    settings = Settings(_env_file=None, nats_url="nats://me:secret@a:4222,nats://b:4222")
    # When its document is made
    document = _generated(settings)
    # Then it has the servers of the contract, and nothing of the password
    assert document["servers"] == DOCUMENT["servers"]
    assert "secret" not in json.dumps(document)


@pytest.mark.parametrize(
    ("store", "words", "buckets"),
    [
        ("nats://sounds", "bucket `sounds`", {"audio", "results"}),
        ("file:///recordings", "into the folder of the service", {"results"}),
        ("s3://calls/2026", "to S3, below `s3://calls/2026`", {"results"}),
        ("https://files.example.com/", "on a web server", {"results"}),
    ],
)
def test_the_document_has_the_names_and_the_store_of_the_deployment(store: str, words: str, buckets: set[str]) -> None:
    document = _generated(Settings(_env_file=None, nats_stream_name="speech_tasks", audio_store=store))
    assert set(document["x-nats"]["objectStoreBuckets"]) == buckets
    assert words in document["info"]["description"]
    assert ("speech_results" in json.dumps(document), "transcription_results" in json.dumps(document)) == (True, False)


def test_a_channel_without_an_entry_and_an_entry_without_a_channel_are_errors() -> None:
    # Given a service with a further subject
    document, broker = _document(Settings(_env_file=None))
    broker.publisher("tasks.more", title="More")
    # Then there is no document until the registry has the subject
    with pytest.raises(LookupError, match=r"More: add them to CHANNELS"):
        document.to_specification()
    # And none if the service lacks a subject of the registry
    with pytest.raises(LookupError, match=r"Task status.*add a handler"):
        Document("1", Settings(_env_file=None)).to_specification()


def _generated(settings: Settings) -> dict[str, Any]:
    """The document of a worker with these settings."""
    document: dict[str, Any] = json.loads(_document(settings)[0].to_specification().to_json())
    return document


def _document(settings: Settings) -> tuple[AsyncAPI, NatsBroker]:
    document, broker = Document("1", settings), Worker(settings, FakeEngine()).broker
    document.add_broker(broker)
    return document, broker


def test_every_reference_points_at_something() -> None:
    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [reference for value in node.values() for reference in references(value)]
        return [reference for value in node for reference in references(value)] if isinstance(node, list) else []

    for reference in references(DOCUMENT):
        at: dict[str, Any] = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def test_the_document_of_the_search_is_up_to_date(tmp_path: Path) -> None:
    # When the document is generated in an environment without servers
    written = tmp_path / "asyncapi.yaml"
    command = [str(Path(sys.executable).parent / "faststream"), "docs", "gen", "services.search.main:create_app"]
    options = ["--factory", "--yaml", "--out", str(written)]
    environment = os.environ | {"NATS_URL": "nats://127.0.0.1:1"}
    subprocess.run([*command, *options], check=True, cwd=ROOT, env=environment, capture_output=True)
    # Then it is the one in the repository
    kept = (ROOT / "services" / "search" / "asyncapi.yaml").read_text(encoding="utf-8")
    assert written.read_text(encoding="utf-8").replace("127.0.0.1:1", "localhost:4222") == kept, "run: make spec"
