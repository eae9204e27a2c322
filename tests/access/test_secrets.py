"""Secrets are generated if they are missing, in one folder for each reader, and read from files."""

import subprocess
from pathlib import Path

import pytest
from natscribe import settings as module

from app.settings import Settings
from tests.access.servers import DEPLOY, USERS


def make(folder: Path) -> dict[str, str]:
    subprocess.run(["sh", str(DEPLOY / "secrets.sh"), str(folder), "nats"], check=True)  # noqa: S607
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_only_missing_secrets_are_generated(tmp_path: Path) -> None:
    # Given secrets, of which some are lost
    before = make(tmp_path)
    for lost in ("worker/redis_url", "clients/publisher.env"):
        (tmp_path / lost).unlink()
    # When they are made once more, then those come back, and none is another one
    assert make(tmp_path) == before


def test_each_reader_finds_what_it_needs(tmp_path: Path) -> None:
    files = make(tmp_path)
    passwords = {user: files[f"nats/nats_{user}"].strip() for user in USERS}
    assert len(set(passwords.values())) == len(USERS)
    assert all(len(password) == 48 for password in passwords.values())
    # The worker gets only its own secrets
    of_the_worker = {name: text for name, text in files.items() if name.startswith("worker/")}
    assert set(of_the_worker) == {"worker/nats_password", "worker/redis_url", "worker/ca.crt"}
    assert of_the_worker["worker/nats_password"].strip() == passwords["service"]
    assert files["redis/redis_service"].strip() in of_the_worker["worker/redis_url"]
    # And a client's are settings as they are
    publisher = Settings(_env_file=tmp_path / "clients/publisher.env")
    assert publisher.nats_user == "publisher"
    assert publisher.nats_password is not None
    assert publisher.nats_password.get_secret_value() == passwords["publisher"]


def test_the_key_of_s3_is_given_to_the_worker_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a key in the environment
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret of S3")
    # When secrets are made, then only the worker finds it
    files = make(tmp_path)
    assert [name for name, text in files.items() if "secret of S3" in text] == ["worker/aws_secret_access_key"]


def test_settings_are_read_from_files_and_the_environment_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nats_password").write_text("from a file\n")
    (tmp_path / "redis_url").write_text("redis://file:6379/0\n")
    (tmp_path / "aws_secret_access_key").write_text("key from a file\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("REDIS_URL", "redis://environment:6379/0")
    settings = Settings(_env_file=None, _secrets_dir=tmp_path)
    assert settings.nats_password is not None
    assert settings.nats_password.get_secret_value() == "from a file"
    assert settings.redis_url == "redis://environment:6379/0"
    assert settings.aws_secret_access_key is not None
    assert settings.aws_secret_access_key.get_secret_value() == "key from a file"
    assert str(module.SECRETS) == "/run/secrets"


def test_the_repository_holds_none() -> None:
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=DEPLOY.parent, capture_output=True, text=True, check=True).stdout
    assert not [name for name in listed.split() if name.endswith((".key", ".pem", ".crt", ".creds", ".env"))]
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    assert not [path for path in files if "PRIVATE KEY" in path.read_text(encoding="utf-8")]
