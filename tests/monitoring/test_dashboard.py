"""The dashboard: what its description says, and what Grafana's own types accept."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.stack import DEPLOYED, ROOT, read
from tests.typescript import compiler_errors

DASHBOARD = DEPLOYED / "grafana/dashboards/natscribe.json"
Dashboard = dict[str, Any]


@pytest.fixture
def dashboard() -> Dashboard:
    document: Dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return document


def complaints(dashboard: Dashboard, folder: Path) -> str:
    """What the compiler says of a dashboard, against the types of @grafana/schema."""
    source = (
        f'import type {{ Checked }} from "./dashboard";\nexport const dashboard: Checked = {json.dumps(dashboard)};'
    )
    return compiler_errors(folder, Path(__file__).with_name("dashboard.ts"), source)


def test_it_is_generated_from_its_description() -> None:
    write = "import make_dashboard; print(make_dashboard.written(), end='')"
    generated = subprocess.run(
        [sys.executable, "-c", write], cwd=ROOT / "tools", capture_output=True, text=True, check=True
    )
    assert DASHBOARD.read_text(encoding="utf-8") == generated.stdout, "run: python tools/make_dashboard.py"


def test_grafanas_types_accept_it(dashboard: Dashboard, tmp_path: Path) -> None:
    assert complaints(dashboard, tmp_path) == ""


def test_they_would_refuse_a_wrong_key(dashboard: Dashboard, tmp_path: Path) -> None:
    dashboard["panels"][1]["options"]["colourMode"] = "value"
    assert "error TS" in complaints(dashboard, tmp_path)


def test_no_panel_lies_over_another(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        own = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not own & taken
        assert at["x"] + at["w"] <= 24
        taken |= own
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = read("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == read("prometheus.yml")["global"]["scrape_interval"]
    (provider,) = read("grafana/provisioning/dashboards/natscribe.yml")["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
