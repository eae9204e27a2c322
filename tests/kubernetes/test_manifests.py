"""The manifests for Kubernetes: the types of its API and of KEDA accept them, and they say what the code says."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from natscribe.settings import SECRETS

from app.runtime.telemetry.metrics import Meter
from app.settings import Settings
from tests.access.servers import USERS
from tests.typescript import compiler_errors

ROOT = Path(__file__).parents[2]
DEPLOYED = ROOT / "deploy/kubernetes"
WORKERS = DEPLOYED / "workers"
APPLIED = (WORKERS, DEPLOYED / "redis", DEPLOYED / "monitoring")
PATCH = DEPLOYED / "gpu/worker.yaml"
RELEASES_WITHIN = 10  # seconds that a worker needs to release its task after TASK_GRACE
Json = dict[str, Any]


def read(path: Path) -> Iterator[Json]:
    yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def manifests() -> list[Json]:
    """All objects, also those that an operator has to add."""
    paths = sorted(path for folder in APPLIED for path in folder.glob("*.yaml") if path.stem != "kustomization")
    return [manifest for path in paths for manifest in read(path)]


def prometheus_rules() -> list[Json]:
    command = ["sh", str(DEPLOYED / "rules.sh")]
    return list(yaml.safe_load_all(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def one(kind: str, name: str = "worker") -> Json:
    (selected,) = (
        manifest for manifest in manifests() if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)
    )
    return selected


@pytest.fixture
def pod() -> Json:
    template: Json = one("Deployment")["spec"]["template"]["spec"]
    return template


@pytest.fixture
def container(pod: Json) -> Json:
    (single,) = pod["containers"]
    return dict(single)


def refused(objects: list[Json], patches: list[Json], folder: Path) -> list[int]:
    """Which of these the compiler refuses, against the types of kubernetes-models: their indices, patches last."""
    lines = [f"export const object{at}: Manifest = {json.dumps(manifest)};" for at, manifest in enumerate(objects)]
    lines += [f"export const patch{at}: Patch = {json.dumps(patch)};" for at, patch in enumerate(patches)]
    lines += ['import type { Manifest, Patch } from "./manifests";']
    output = compiler_errors(folder, Path(__file__).with_name("manifests.ts"), "\n".join(lines))
    errors = [line for line in output.splitlines() if not line.startswith(" ")]  # what is indented explains one
    matches = [re.match(r"check\.ts\((\d+),\d+\): error TS", line) for line in errors]
    assert all(matches), output
    return sorted({int(match[1]) - 1 for match in matches if match})


def wrong_ones() -> Iterator[Json]:
    """Objects with a mistake each."""
    unknown_probe = one("Deployment")
    container = unknown_probe["spec"]["template"]["spec"]["containers"][0]
    container["startProbe"] = container.pop("startupProbe")
    yield unknown_probe
    number_as_text = one("ScaledObject")
    number_as_text["spec"]["maxReplicaCount"] = "10"
    yield number_as_text
    missing_template = one("Deployment")
    del missing_template["spec"]["template"]
    yield missing_template
    unknown_setting_of_keda = one("ScaledObject")
    unknown_setting_of_keda["spec"]["minReplicas"] = 0
    yield unknown_setting_of_keda


def test_the_types_of_kubernetes_and_keda_accept_all_and_would_refuse_a_wrong_one(tmp_path: Path) -> None:
    wrong = list(wrong_ones())
    objects = [*wrong, *manifests(), *prometheus_rules()]
    assert refused(objects, list(read(PATCH)), tmp_path) == list(range(len(wrong)))


def built(folder: str) -> list[Json]:
    """All objects that kustomize makes of a folder."""
    command = shutil.which("kustomize")
    if command is None:
        pytest.skip("kustomize is not installed")
    text = subprocess.run([command, "build", DEPLOYED / folder], capture_output=True, text=True, check=True).stdout
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("folder", ["workers", "gpu"])
def test_kustomize_builds_workers(folder: str) -> None:
    objects = built(folder)
    # Given all that is applied, the worker has the settings, the image of the registry and, if so, a GPU
    (worker,) = (item for item in objects if item["kind"] == "Deployment")
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("registry.example.com/natscribe:")
    assert container["envFrom"][0]["configMapRef"]["name"].startswith("worker-settings-")
    assert container["resources"]["limits"].get("nvidia.com/gpu") == (1 if folder == "gpu" else None)
    assert {item["metadata"]["namespace"] for item in objects} == {"natscribe"}


def test_kustomize_builds_redis_with_its_users() -> None:
    objects = {item["kind"]: item for item in built("redis")}
    users = objects["ConfigMap"]
    assert users["data"]["users.sh"] == (ROOT / "deploy/redis/users.sh").read_text(encoding="utf-8")
    volumes = objects["StatefulSet"]["spec"]["template"]["spec"]["volumes"]
    assert {"name": "users", "configMap": {"name": users["metadata"]["name"]}} in volumes
    assert {item["metadata"]["namespace"] for item in objects.values()} == {"natscribe"}


def test_kustomize_builds_the_dashboard_for_grafana() -> None:
    (config_map,) = (item for item in built("monitoring") if item["kind"] == "ConfigMap")
    assert config_map["metadata"]["labels"] == {"grafana_dashboard": "1"}
    dashboard = ROOT / "deploy/monitoring/grafana/dashboards/natscribe.json"
    assert config_map["data"] == {"natscribe.json": dashboard.read_text(encoding="utf-8")}


def test_the_operator_of_prometheus_gets_all_rules() -> None:
    for rule, name in zip(prometheus_rules(), ("records", "alerts"), strict=True):
        (deployed,) = read(ROOT / f"deploy/monitoring/{name}.yml")
        assert rule["spec"] == deployed
        assert rule["metadata"]["name"] == f"natscribe-{name}"


def test_prometheus_scrapes_workers_under_the_job_of_the_alerts() -> None:
    endpoints = {name: one("PodMonitor", name)["spec"] for name in ("natscribe-worker", "natscribe-nats")}
    worker = endpoints["natscribe-worker"]
    assert worker["selector"]["matchLabels"] == one("Deployment")["spec"]["selector"]["matchLabels"]
    (endpoint,) = worker["podMetricsEndpoints"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "natscribe"}]
    assert 'job="natscribe"' in (ROOT / "deploy/monitoring/alerts.yml").read_text(encoding="utf-8")
    # And as often as the time until an alert assumes
    (deployed,) = read(ROOT / "deploy/monitoring/prometheus.yml")
    assert {monitor["podMetricsEndpoints"][0]["interval"] for monitor in endpoints.values()} == {
        deployed["global"]["scrape_interval"]
    }


def test_redis_is_that_of_compose() -> None:
    # Given the containers of both
    (compose,) = read(ROOT / "compose.yaml")
    pod = one("StatefulSet", "redis")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    # Then image and commands are the same
    there = compose["services"]["redis"]
    assert container["image"] == there["image"]
    assert container["command"] == there["command"]
    # And Redis refuses to write before it would be killed, with room for what it copies while it rewrites its file
    most = re.search(r" --maxmemory (\d+)mb ", container["command"][-1])
    assert most is not None
    assert container["resources"]["limits"] == {"memory": f"{int(most[1]) * 4 / 3 / 1024:g}Gi"}
    assert container["readinessProbe"]["exec"]["command"][2] == there["healthcheck"]["test"].replace("$$", "$")
    # And its passwords are the files that the document has people put into a Secret
    (secret,) = (volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume)
    assert f"create secret generic {secret} --from-file=secrets/redis" in operations()
    # And workers reach it by the name of its Service
    (selected,) = (manifest["spec"]["selector"] for manifest in manifests() if manifest["kind"] == "Service")
    assert selected == one("StatefulSet", "redis")["spec"]["template"]["metadata"]["labels"]
    assert one("NetworkPolicy", "redis")["spec"]["podSelector"]["matchLabels"] == selected
    assert "@redis:6379" in (ROOT / "deploy/secrets.sh").read_text(encoding="utf-8")


def test_workers_and_nats_speak_tls() -> None:
    # Given the certificate that NATS has from a Secret
    values = yaml.safe_load((DEPLOYED / "nats.yaml").read_text(encoding="utf-8"))
    tls = values["config"]["nats"]["tls"]
    assert tls["enabled"]
    assert (
        f"create secret tls {tls['secretName']} --cert=secrets/nats/server.crt --key=secrets/nats/server.key"
        in operations()
    )
    # Then workers trust its authority, whose file is in their Secret, under a name that the certificate has
    lines = (WORKERS / "settings.properties").read_text(encoding="utf-8").splitlines()
    assert f"NATS_TLS_CA_FILE={SECRETS}/ca.crt" in lines
    assert "NATS_URL=nats://nats:4222" in lines
    assert "sh deploy/secrets.sh secrets nats nats.natscribe.svc" in operations()


def test_every_file_is_applied_or_named_as_an_addition() -> None:
    text = (WORKERS / "kustomization.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"^  (?:# )?- (\S+\.yaml)", text, re.MULTILINE))
    assert named == {path.name for path in WORKERS.glob("*.yaml")} - {"kustomization.yaml"}


def test_probes_use_the_health_endpoints_of_the_service(container: Json) -> None:
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/health/startup", "readiness": "/health/ready", "liveness": "/health/live"}
    (port,) = container["ports"]
    containerfile = (ROOT / "Containerfile").read_text(encoding="utf-8")
    assert f'"--port", "{port["containerPort"]}"' in containerfile
    assert {container[f"{name}Probe"]["httpGet"]["port"] for name in paths} == {port["name"]}


def test_a_stopped_worker_has_time_for_its_task(pod: Json) -> None:
    assert pod["terminationGracePeriodSeconds"] >= settings_given().task_grace + RELEASES_WITHIN


def settings_given() -> Settings:
    """The settings of the workers as their ConfigMap has them, but for the file that is in their Secret."""
    text = (WORKERS / "settings.properties").read_text(encoding="utf-8")
    values: Json = dict(line.lower().split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert values.pop("nats_tls_ca_file").startswith(str(SECRETS))
    return Settings(_env_file=None, _secrets_dir=None, **values)


def test_settings_are_known_and_hold_no_secret() -> None:
    lines = (WORKERS / "settings.properties").read_text(encoding="utf-8").splitlines()
    names = {line.partition("=")[0].lower() for line in lines if line and not line.startswith("#")}
    assert names <= set(Settings.model_fields)
    assert not names & {"nats_password", "redis_url"}
    assert settings_given().nats_user == "service"


def test_a_worker_may_as_little_as_in_compose(pod: Json, container: Json) -> None:
    containerfile = (ROOT / "Containerfile").read_text(encoding="utf-8")
    security = pod["securityContext"]
    assert security["runAsNonRoot"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}" in containerfile
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # A token of Kubernetes would lie below the folder of the settings' files, and links set variables like settings
    assert not pod["automountServiceAccountToken"]
    assert not pod["enableServiceLinks"]


def test_secrets_are_files_where_the_service_reads_them(pod: Json, container: Json) -> None:
    mount_paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mount_paths["secrets"] == str(SECRETS)
    assert {"recordings": "/tmp", "models": "/models"}.items() <= mount_paths.items()  # noqa: S108 -- a volume of its own
    (secret,) = (volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume)
    assert f"create secret generic {secret} --from-file=secrets/worker" in operations()


def operations() -> str:
    return (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def test_objects_speak_of_the_same_pods() -> None:
    labels = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert one("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert one("NetworkPolicy", "worker-https")["spec"]["podSelector"]["matchLabels"] == labels
    assert one("ScaledObject")["spec"]["scaleTargetRef"] == {"name": one("Deployment")["metadata"]["name"]}
    # KEDA sets the number: a number here would reset it
    assert "replicas" not in one("Deployment")["spec"]


def test_workers_are_scaled_by_metrics_that_there_are() -> None:
    triggers = {trigger["name"]: trigger["metadata"] for trigger in one("ScaledObject")["spec"]["triggers"]}
    # By what the workers report
    described = {family.name for family in Meter().registry.collect()}
    assert set(re.findall(r"\b(?:natscribe|task)_\w+", triggers["waiting-audio"]["query"])) <= described
    # And by what NATS reports while there is none, of the stream that they have
    assert f'stream_name="{settings_given().nats_stream_name}"' in triggers["tasks"]["query"]
    assert yaml.safe_load((DEPLOYED / "nats.yaml").read_text(encoding="utf-8"))["promExporter"]["enabled"]
    # KEDA wants all of them as text
    assert all(isinstance(value, str) for metadata in triggers.values() for value in metadata.values())


def test_nats_knows_the_password_of_each_user() -> None:
    values = yaml.safe_load((DEPLOYED / "nats.yaml").read_text(encoding="utf-8"))
    environment = values["container"]["env"]
    # Given that the accounts read passwords from the environment
    accounts = (ROOT / "deploy/nats/accounts.conf").read_text(encoding="utf-8")
    assert set(re.findall(r"password: \$(\w+)", accounts)) == {name for name in environment if name.startswith("NATS_")}
    for user in USERS:
        # Then each is quoted text, from a key of the Secret that the document has people make
        name = f"GIVEN_{user.upper()}"
        assert environment[f"NATS_{user.upper()}_PASSWORD"] == f'"$({name})"'
        assert environment[name] == {"valueFrom": {"secretKeyRef": {"name": "nats", "key": user}}}
        assert user in operations().partition("create secret generic nats ")[2].partition("done)")[0]
        # And is defined before it is used: the chart sorts them by name
        assert name < f"NATS_{user.upper()}_PASSWORD"
    # And the accounts are where NATS reads them, from /etc/nats-config/nats.conf on
    (mount,) = (addition["value"] for addition in values["container"]["patch"])
    assert values["config"]["merge"]["$include"] == f"../{Path(mount['mountPath']).name}/accounts.conf"
    assert Path(mount["mountPath"]).parent == Path("/etc")
