"""What the examples are made of is that of the contract; that they work is tested end to end."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from natscribe.schemas import examples, subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.requests import ResultRequest
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import Priority, TaskType
from natscribe.transcript_page import page as page_of

from app.command.page import WEBSOCKET_PORT
from app.settings import Settings

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NODE = ROOT / "tools/node"
READMES = ("README.md", "README.ru.md")
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
READABLE = 39  # lines of a first client


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["first_client.py", "node/transcribe.ts"])
def test_a_first_client_is_read_in_a_minute(name: str) -> None:
    assert len(read(EXAMPLES / name).splitlines()) <= READABLE


def test_a_first_client_without_a_recording_prints_its_usage() -> None:
    client = subprocess.run(
        [sys.executable, EXAMPLES / "first_client.py"], check=False, capture_output=True, text=True, timeout=60
    )
    assert client.returncode == 1
    assert client.stderr.endswith("`python first_client.py RECORDING`.\n")
    assert "Traceback" not in client.stderr


@pytest.mark.parametrize("name", READMES)
def test_the_readme_shows_the_first_client_of_the_package(name: str) -> None:
    # Given the first client in the package's README, which a test runs
    client, *_ = PYTHON.findall(read(ROOT / "clients/python/README.md"))
    # Then the project's README shows the same one
    assert PYTHON.findall(read(ROOT / name)) == [client]


@pytest.mark.parametrize("name", READMES)
def test_the_commands_of_the_readme_are_of_the_contract(name: str) -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", read(ROOT / name), flags=re.DOTALL)
    upload, publish, follow, get_result = (shlex.split(line) for line in block.splitlines())
    task = TranscriptionTask.model_validate_json(publish[-1])
    assert publish[-2] == subjects.tasks(TaskType.TRANSCRIPTION, Priority.NORMAL)
    assert f"Nats-Msg-Id:{task.task_id}" in publish
    assert f"nats://{upload[3]}" == Settings.model_fields["audio_store"].default
    assert upload[4] == task.audio_file_id
    assert follow[-1] == subjects.progress(task.task_id)
    assert get_result[-2] == subjects.RESULT
    assert ResultRequest.model_validate_json(get_result[-1]).task_id == task.task_id


@pytest.mark.node
def test_the_models_of_the_node_client_are_those_of_the_document() -> None:
    node = Path(sys.executable).parent / "node"
    generated = subprocess.run(
        [node, "models.mjs", ROOT / "asyncapi.yaml"], cwd=NODE, check=True, capture_output=True, timeout=60
    )
    assert generated.stdout.decode() == read(EXAMPLES / "node/models.ts"), "run: make spec"


@pytest.mark.node
def test_the_nats_client_of_the_page_is_bundled_from_the_packages_that_are_tested() -> None:
    node = Path(sys.executable).parent / "node"
    bundle = subprocess.run([node, "bundle_nats.mjs"], cwd=NODE, check=True, capture_output=True, timeout=60)
    assert bundle.stdout.decode() == read(ROOT / "web/nats.js"), "run: make spec, and renew the hash in NOTICE"


def test_the_page_loads_nothing_from_others_and_inserts_text_alone() -> None:
    # Given the page, without the NATS client
    files = [path for path in (ROOT / "web").iterdir() if path.name != "nats.js" and path.suffix != ".md"]
    page = read(ROOT / "web/index.html")
    # Then its policy lets it load its own files, and speak to other hosts with TLS alone
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    # And that of a transcript, which inherits the policy
    transcript = page_of(examples.RESULT)
    for kind in ("script-src", "style-src"):
        (allowed,) = re.findall(rf"{kind} ('sha256-[^']+')", transcript)
        assert rules[kind].split() == ["'self'", allowed], f"write {allowed} into web/index.html"
    assert rules["connect-src"].split() == ["'self'", "ws://localhost:*", "ws://127.0.0.1:*", "wss:"]
    assert rules["require-trusted-types-for"] == "'script'"
    # And nothing in it is markup made of text, or an address of another host
    for file in files:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|https?://\w", read(file)), (
            file.name
        )
    # And its settings are those of `natscribe up`
    assert json.loads(read(ROOT / "web/settings.json"))["server"] == f"ws://localhost:{WEBSOCKET_PORT}"


def test_the_node_client_requires_the_tested_versions() -> None:
    example, tested = json.loads(read(EXAMPLES / "node/package.json")), json.loads(read(NODE / "package.json"))
    dependencies = example["dependencies"] | example["devDependencies"]
    assert dependencies == {name: tested["devDependencies"].get(name) for name in dependencies}


def test_each_sentence_of_the_page_is_in_russian() -> None:
    # Given the sentences of the page, and the codes of errors
    folder = ROOT / "web"
    document = read(folder / "index.html")
    sentences = set(re.findall(r"<[^>]*\bdata-t\b[^>]*>([^<]+)<", document))
    sentences |= set(re.findall(r'(?:aria-label|placeholder|title)="([^"]+)"', document))
    for module in folder.glob("*.js"):
        if module.name not in {"nats.js", "ru.js"}:
            sentences |= set(re.findall(r'(?<![.\w])(?:t|set)\("([^"]+)"', read(module)))
    for name in ("problems.js", "task_state.js", "task_page.js", "voices.js"):  # tables of sentences
        sentences |= set(re.findall(r'[:=] "([A-Z{][^"]*[ .a-z][^"]*)"', read(folder / name)))
    codes = {code.value for code in ErrorCode}
    # Then each has a Russian one, with the same places for values
    russian = dict(re.findall(r'^  "?([^"\n]+?)"?: "([^"\n]+)",$', read(folder / "ru.js"), flags=re.MULTILINE))
    keys = {text[:40]: text for text in sorted((sentences | codes) - {"ServiceError"})}
    assert len(keys) == len((sentences | codes) - {"ServiceError"})
    assert keys.keys() - russian.keys() == set()
    places = re.compile(r"\{\w+\}")
    assert [text for key, text in keys.items() if set(places.findall(text)) != set(places.findall(russian[key]))] == []
