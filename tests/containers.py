"""NATS and Redis in containers, where an engine answers."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

NATS_IMAGE = "nats:2.12-alpine"
REDIS_IMAGE = "redis:8-alpine"


def engine_answers() -> bool:
    """Whether there is a container engine that answers."""
    if os.environ.get("TEST_SERVERS") == "binaries" or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0  # noqa: S607


@contextmanager
def nats_container() -> Iterator[str]:
    """NATS with JetStream; yields its URL."""
    container = DockerContainer(NATS_IMAGE).with_command("-js -sd /data").with_exposed_ports(4222)
    with container.waiting_for(LogMessageWaitStrategy("Server is ready")) as started:
        yield f"nats://{started.get_container_host_ip()}:{started.get_exposed_port(4222)}"


@contextmanager
def redis_container() -> Iterator[str]:
    """Redis; yields its URL."""
    container = DockerContainer(REDIS_IMAGE).with_exposed_ports(6379)
    with container.waiting_for(LogMessageWaitStrategy("Ready to accept connections")) as started:
        yield f"redis://{started.get_container_host_ip()}:{started.get_exposed_port(6379)}/0"
