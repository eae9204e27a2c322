"""The production stack, started beside whatever else runs: a project and ports of its own."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.command.embedded import free_port
from app.settings import Settings

ROOT = Path(__file__).parents[2]
SINGLE = ("compose.yaml",)
NATS_PORTS = ("NATS_PORT", "NATS_2_PORT", "NATS_3_PORT")
PORTS = (
    *NATS_PORTS,
    *(name.replace("PORT", "MONITORING_PORT") for name in NATS_PORTS),
    "REDIS_PORT",
    "PROMETHEUS_PORT",
    "ALERTMANAGER_PORT",
    "GRAFANA_PORT",
)


class Stack:
    """The arguments of `docker compose`, and the ports of the services."""

    def __init__(self, folder: Path, files: tuple[str, ...]) -> None:
        self._files = files
        self.ports = {name: free_port() for name in PORTS}
        self._environment = os.environ | {name: str(port) for name, port in self.ports.items()}
        self._environment["COMPOSE_PROJECT_NAME"] = "natscribe-test"
        self._folder = folder

    def compose(self, *arguments: str, files: tuple[str, ...] | None = None) -> str:
        """What it prints; an error is in the test's output."""
        chosen = [word for file in files or self._files for word in ("-f", file)]
        return self.run("docker", "compose", "--progress", "quiet", *chosen, *arguments)

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def services(self) -> list[str]:
        """The services whose images are here or are built: registries may be out of reach."""
        services = json.loads(self.compose("config", "--format", "json"))["services"]
        return sorted(name for name, service in services.items() if "build" in service or _is_here(service["image"]))

    def containers(self) -> dict[str, dict[str, Any]]:
        """All that is known of each running container, by its name."""
        details = json.loads(self.run("docker", "inspect", *self.compose("ps", "--quiet").split()))
        return {container["Name"].strip("/"): container for container in details}

    def secret(self, name: str) -> str:
        return self.compose("run", "--rm", "--no-deps", "-T", "prepare", "cat", f"/secrets/{name}")

    def settings(self, user: str, *, trusting: bool = False, nodes: int = 1) -> Settings:
        """The settings of a client on this machine, with the addresses of this number of NATS servers."""
        file = self._folder / f"{user}.env"
        file.write_text(self.secret(f"clients/{user}.env"))
        authority = self._folder / "ca.crt"
        authority.write_text(self.secret("clients/ca.crt"))
        return Settings(
            _env_file=file,
            nats_url=",".join(f"nats://localhost:{self.ports[name]}" for name in NATS_PORTS[:nodes]),
            nats_tls_ca_file=authority if trusting else None,
        )


@contextmanager
def production_stack(files: tuple[str, ...] = SINGLE) -> Iterator[Stack]:
    with TemporaryDirectory() as folder:
        stack = Stack(Path(folder), files)
        try:
            yield stack
        finally:
            stack.compose("down", "--volumes", "--timeout", "20")


def _is_here(image: str) -> bool:
    command = ["docker", "image", "inspect", image]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
