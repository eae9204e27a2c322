"""NATS and Redis in containers, if a container engine is running."""

# ruff: noqa: PLC0415 -- the libraries take a moment to import, and only an engine needs them
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

NATS_IMAGE = "nats:2.15.1-alpine"
REDIS_IMAGE = "redis:8-alpine"


def engine_answers() -> bool:
    """Whether a container engine is running that has the images, or can pull them."""
    if os.environ.get("TEST_SERVERS") == "binaries" or shutil.which("docker") is None:
        return False
    images = (NATS_IMAGE, REDIS_IMAGE)
    return _docker("version") and all(_docker("image", "inspect", name) or _docker("pull", name) for name in images)


@contextmanager
def nats_container() -> Iterator[str]:
    """NATS with JetStream; yields its URL."""
    with _serving(NATS_IMAGE, "-js -sd /data", port=4222, says="Server is ready") as address:
        yield f"nats://{address}"


@contextmanager
def redis_container() -> Iterator[str]:
    """Redis; yields its URL."""
    with _serving(REDIS_IMAGE, None, port=6379, says="Ready to accept connections") as address:
        yield f"redis://{address}/0"


@contextmanager
def _serving(image: str, command: str | None, *, port: int, says: str) -> Iterator[str]:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    if not _docker("image", "inspect", testcontainers_config.ryuk_image):
        testcontainers_config.ryuk_disabled = True  # it only removes what a killed run left: not worth a download
    ready = LogMessageWaitStrategy(says).with_startup_timeout(60)
    container = DockerContainer(image, command=command)
    with container.with_exposed_ports(port).waiting_for(ready) as started:
        yield f"{started.get_container_host_ip()}:{started.get_exposed_port(port)}"


def _docker(*arguments: str) -> bool:
    return subprocess.run(["docker", *arguments], capture_output=True, check=False).returncode == 0  # noqa: S607
