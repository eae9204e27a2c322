"""The client's package: installed alone, beside a user's own packages, on the oldest and the newest Python."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.command.embedded import NatsServer
from app.main import Worker
from tests.programs import BIN, WITHIN
from tests.watchdog import RUN

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "clients/python"
UV = BIN / "uv"
OLDEST, NEWEST = "3.10", ("3.14", "3.13", "3.12")
MIB = 1024 * 1024

pytestmark = pytest.mark.xdist_group("package")


def python(*versions: str) -> Path:
    """The first of these versions that this machine has, on its path or from pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for version in versions:
        of_pyenv = sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
        if of_pyenv or shutil.which(f"python{version}"):
            return of_pyenv[0] if of_pyenv else Path(f"python{version}")
    pytest.skip(f"no Python {' or '.join(versions)} here")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [UV, "build", "--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, PACKAGE],
        check=True,
    )
    (wheel_file,) = folder.glob("*.whl")
    return wheel_file


def installed(wheel: Path, folder: Path, interpreter: Path | str, extra: str = "", *options: Path | str) -> Path:
    """An environment with the wheel and what it needs; its Python."""
    subprocess.run([UV, "venv", "--quiet", "--python", interpreter, folder], check=True)
    new = folder / "bin/python"
    requirement = f"natscribe{extra} @ {wheel.as_uri()}"
    subprocess.run([UV, "pip", "install", "--quiet", "--python", new, requirement, *options], check=True)
    return new


def bytes_in(environment: Path) -> int:
    """What was installed, without what Python compiles of it."""
    (packages,) = environment.glob("lib/python*/site-packages")
    files = [path for path in packages.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sum(path.stat().st_size for path in files)


@pytest.mark.parametrize("versions", [(OLDEST,), NEWEST], ids=["oldest", "newest"])
async def test_the_first_client_of_its_readme_runs_beside_packages_of_the_same_names(
    wheel: Path, versions: tuple[str, ...], tmp_path: Path, worker: Worker, recordings_folder: Path
) -> None:
    # Given a project with packages that are called as the service's are, and the package from its wheel
    for name in ("app", "handlers", "schemas"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('this package belongs to somebody else')\n")
    new = installed(wheel, tmp_path / "env", python(*versions))
    snippet, *_ = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in snippet.splitlines() if line]) <= 9
    (tmp_path / "first.py").write_text(snippet)
    # When its README's client runs there
    run = await run_in(
        tmp_path,
        worker.settings.nats_url,
        worker.settings.audio_store,
        new,
        "first.py",
        recordings_folder / "meeting.flac",
    )
    # Then it prints the text
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


EVERYTHING = """
import asyncio
from natscribe import Client, ErrorCode, Kind, RequestFailedError, ResultFormat, Settings, State
from natscribe.transcript_page import page
from natscribe.mock import Mock

async def main():
    async with Mock(Settings.read()), Client() as client:
        done = await client.create_transcription_task("meeting.flac", user_id="anna")
        result = await client.wait_for_result(done)
        assert await client.get_task_result(done, ResultFormat.HTML) == page(result)
        text = result.text
        failed = await client.create_diarization_task("meeting.flac", task_id="error-expired-1")
        try:
            await client.wait_for_result(failed)
        except RequestFailedError as error:
            assert error.code is ErrorCode.EXPIRED
        assert [letter.task_id async for letter in client.dead_letters()] == [failed]
        assert [task.task_id for task in (await client.tasks(state=State.COMPLETED)).tasks] == [done]
        assert (await client.queue()).dead_letters == 1
        assert len(await client.workers()) == 1
        assert await client.replay(task_id=failed) == 1
        assert await client.delete_dead_letters(kind=Kind.DIARIZATION) <= 1
        assert (await client.get_task_progress(done)).state is State.COMPLETED
        await client.cancel(failed)
        await client.delete(failed)
        assert await client.delete_user("anna") == 1
        print(text)

asyncio.run(main())
"""


async def test_all_of_the_client_and_the_mock_run_on_the_oldest_python(
    wheel: Path, tmp_path: Path, nats_server: NatsServer
) -> None:
    # Given the library alone, on the oldest Python, and an empty NATS
    new = installed(wheel, tmp_path / "env", python(OLDEST))
    (tmp_path / "everything.py").write_text(EVERYTHING)
    # When a program calls each method of the client against the mock
    run = await run_in(tmp_path, nats_server.url, tmp_path.as_uri(), new, "everything.py")
    # Then each does what it says
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


async def run_in(folder: Path, nats_url: str, store: str, *command: Path | str) -> subprocess.CompletedProcess[str]:
    environment = {"NATS_URL": nats_url, "AUDIO_STORE": store, "PYTHONPATH": str(folder), RUN: os.environ[RUN]}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), WITHIN)
    return subprocess.CompletedProcess(command, process.returncode or 0, out.decode(), err.decode())


def test_it_is_small(wheel: Path, tmp_path: Path) -> None:
    # Given the library alone, and with the command, and the locked versions of what they need
    locked = "--constraint", ROOT / "requirements/runtime.txt"
    installed(wheel, tmp_path / "library", sys.executable, "", *locked)
    installed(wheel, tmp_path / "command", sys.executable, "[command]", *locked)
    # Then each is small: 7.65 MiB are pydantic and nats-py with what they need, 5.6 MiB rich and pygments
    assert bytes_in(tmp_path / "library") <= 8.4 * MIB
    assert bytes_in(tmp_path / "command") <= 15.2 * MIB
    # And little of that is ours, the rules that the mock and the service share included
    (ours,) = (tmp_path / "library").glob("lib/python*/site-packages/natscribe")
    assert sum(path.stat().st_size for path in ours.rglob("*.py")) <= 0.7 * MIB


def test_the_command_without_its_extra_or_the_service_names_what_to_install(wheel: Path, tmp_path: Path) -> None:
    # Given the library alone
    installed(wheel, tmp_path / "library", sys.executable)
    run = subprocess.run([tmp_path / "library/bin/natscribe"], capture_output=True, text=True, check=False)
    # When the command is called, then it names the extra
    assert run.returncode == 1
    assert (
        run.stderr == "The command needs an extra, install it in a checkout: pip install './clients/python[command]'\n"
    )
    # Given the command without the service
    installed(wheel, tmp_path / "command", sys.executable, "[command]")
    for name in ("up", "demo"):
        run = subprocess.run([tmp_path / "command/bin/natscribe", name], capture_output=True, text=True, check=False)
        # When a service is to be started, then it names the service's package
        assert run.returncode == 1
        assert "pip install ./clients/python ." in run.stderr
    listed = subprocess.run([tmp_path / "command/bin/natscribe", "--help"], capture_output=True, text=True, check=True)
    assert "transcribe" in listed.stdout


@pytest.mark.parametrize(
    ("project", "version", "extras"),
    [
        (PACKAGE, "3.10", ["command", "creds"]),  # obstore, for S3, has no wheel for 3.10
        (PACKAGE, "3.14", ["command", "creds", "s3"]),
        (ROOT, "3.13", ["onnx", "s3"]),
    ],
    ids=["oldest client", "newest client", "newest service"],
)
def test_there_is_a_wheel_for_all_that_is_needed(project: Path, version: str, extras: list[str]) -> None:
    # Given the package with its extras; nkeys is published as source alone
    options = [part for extra in extras for part in ("--extra", extra)]
    binaries = ["--only-binary", ":all:", "--no-binary", "nkeys", "--no-python-downloads"]
    command: list[str | Path] = [
        UV,
        "pip",
        "compile",
        "-q",
        "--python-version",
        version,
        *binaries,
        *options,
        project / "pyproject.toml",
    ]
    # When it is resolved for this Python, then each has a wheel
    assert "pydantic-core==" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
