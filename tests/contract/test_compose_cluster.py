"""What compose.cluster.yaml promises beside compose.yaml, read without an engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NODES = ("nats", "nats-2", "nats-3")
Service = dict[str, Any]


class Loader(yaml.SafeLoader):
    """Reads `!override`: compose replaces that list instead of extending it."""

    def replaced(self, node: yaml.Node) -> list[str]:
        assert isinstance(node, yaml.SequenceNode)
        return [str(item) for item in self.construct_sequence(node)]


Loader.add_constructor("!override", Loader.replaced)


@pytest.fixture(scope="module")
def single() -> Service:
    document: Service = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def cluster() -> Service:
    text = (ROOT / "compose.cluster.yaml").read_text(encoding="utf-8")
    document: Service = yaml.load(text, Loader)  # noqa: S506 -- a safe loader with one more tag
    return document


@pytest.fixture(scope="module")
def configuration() -> str:
    return (ROOT / "deploy/nats/cluster.conf").read_text(encoding="utf-8")


def test_there_are_three_nodes_and_nothing_else_is_new(single: Service, cluster: Service) -> None:
    assert set(cluster["services"]) - set(single["services"]) == {"nats-2", "nats-3"}


@pytest.mark.parametrize("name", NODES)
def test_a_node_is_the_single_server_with_a_name_and_data_of_its_own(
    single: Service, cluster: Service, name: str
) -> None:
    node, number = cluster["services"][name], NODES.index(name) + 1
    # Given that the first node is the single server, and the others are as locked down and as healthy as that one
    if name != "nats":
        assert node["extends"] == {"file": "compose.yaml", "service": "nats"}
        assert all(port.startswith("127.0.0.1:") for port in node["ports"])
        assert len(node["ports"]) == len(single["services"]["nats"]["ports"])
    assert not {"user", "privileged", "cap_add", "network_mode", "restart", "healthcheck"} & set(node)
    # Then it starts as that one, with the configuration of the cluster and its own name
    more = ["--config", "/etc/natscribe/nats/cluster.conf", "--name", name]
    assert node["command"] == [*single["services"]["nats"]["command"], *more]
    # And the data of a single server stay untouched: nats-server would remove them from a cluster
    assert node["volumes"] == [f"nats-{number}-data:/data"]
    assert f"nats-{number}-data" in cluster["volumes"]
    assert f"nats-{number}-data:/nats-data-{number}" in cluster["services"]["prepare"]["volumes"]


def test_ports_of_the_host_are_used_once(single: Service, cluster: Service) -> None:
    services = [*single["services"].values(), *cluster["services"].values()]
    ports = [port.rpartition(":")[0] for service in services for port in service.get("ports", ())]
    assert len(set(ports)) == len(ports)


def test_the_nodes_know_each_other_and_the_certificate_names_them(single: Service, configuration: str) -> None:
    routes = re.findall(r"nats://([a-z0-9-]+):6222", configuration)
    assert tuple(routes) == NODES
    prepared = single["services"]["prepare"]["command"][-1]
    assert f"/deploy/secrets.sh /secrets {' '.join(NODES)}\n" in prepared


def test_clients_and_nodes_need_tls(configuration: str) -> None:
    # Given the configuration for clients and, inside of `cluster`, the one for nodes
    assert len(re.findall(r"^\s*tls \{$", configuration, re.MULTILINE)) == 2
    # Then a node admits those that the authority has signed, and users are those of the single server
    assert "ca_file: $NATS_AUTHORITY" in configuration
    assert "include nats.conf\n" in configuration


def test_a_node_has_time_to_hand_over(cluster: Service, configuration: str) -> None:
    (duration,) = re.findall(r'^lame_duck_duration: "(\d+)s"', configuration, re.MULTILINE)
    for name in NODES:
        node = cluster["services"][name]
        assert node["stop_signal"] == "SIGUSR2"
        assert float(node["stop_grace_period"].removesuffix("s")) >= float(duration) + 10


def test_workers_know_all_nodes(cluster: Service) -> None:
    worker = cluster["services"]["worker"]
    assert worker["environment"] == {
        "NATS_URL": ",".join(f"nats://{name}:4222" for name in NODES),
        "NATS_REPLICAS": str(len(NODES)),
        "NATS_TLS_CA_FILE": "/run/secrets/ca.crt",
    }
    assert worker["depends_on"] == {name: {"condition": "service_healthy"} for name in NODES[1:]}
