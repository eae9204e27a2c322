"""The alerts: each fires when it should, is silent when it should, and tells a person what to do."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from natscribe.schemas.errors import ErrorCode

from app.runtime.telemetry.metrics import Meter
from tests.monitoring.stack import DEPLOYED, ROOT, program, read, rules, seconds

SCENARIOS = sorted((Path(__file__).parent / "rules").glob("*.yml"))
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
OF_NATS = {"nats_stream_total_messages"}  # of prometheus-nats-exporter
SOONEST = 90  # seconds until an alert reports a dead worker


def run(*command: str | Path) -> None:
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr


def section(alert: str) -> str:
    text: str
    (text,) = re.findall(rf"^## {alert}\n(.*?)(?=^## |\Z)", RUNBOOK, re.DOTALL | re.MULTILINE)
    return text


def test_prometheus_accepts_its_files() -> None:
    promtool = program("promtool")
    run(promtool, "check", "config", "--lint=all", "--lint-fatal", DEPLOYED / "prometheus.yml")
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", DEPLOYED / "records.yml", DEPLOYED / "alerts.yml")


def test_alertmanager_accepts_its_file() -> None:
    run(program("amtool"), "check-config", DEPLOYED / "alertmanager.yml")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_alerts_fire_and_are_silent(scenario: Path) -> None:
    run(program("promtool"), "test", "rules", scenario)


@pytest.mark.parametrize("alert", ALERTS)
def test_both_is_held_against_each_alert(alert: str) -> None:
    checks = [
        check
        for scenario in SCENARIOS
        for test in yaml.safe_load(scenario.read_text(encoding="utf-8"))["tests"]
        for check in test["alert_rule_test"]
        if check["alertname"] == alert
    ]
    assert any(check.get("exp_alerts") for check in checks)
    assert alert == "Watchdog" or any(not check.get("exp_alerts") for check in checks)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_severity_and_a_next_step(alert: str) -> None:
    # Given an alert: it is of a known severity, and speaks in a sentence
    assert ALERTS[alert]["labels"]["severity"] in {"critical", "warning", "none"}
    assert re.fullmatch(r"[A-Z].+\.", ALERTS[alert]["annotations"]["summary"])
    # Then its section in the runbook is where it says, and has commands to inspect and to act
    assert ALERTS[alert]["annotations"]["runbook_url"] == f"docs/runbook.md#{alert.lower()}"
    meaning, diagnosis, action = re.split(r"^\*\*(?:Diagnosis|Action)\.\*\*", section(alert), flags=re.MULTILINE)
    assert meaning.strip()
    assert "```sh\n" in diagnosis
    assert "```sh\n" in action


def test_the_runbook_knows_no_other_alerts() -> None:
    assert set(re.findall(r"^## ([A-Z]\w+)$", RUNBOOK, re.MULTILINE)) == set(ALERTS)


def test_the_log_lines_that_the_runbook_searches_for_are_those_of_the_service() -> None:
    sources = (path for room in ("app", "handlers") for path in (ROOT / room).rglob("*.py"))
    source = "".join(path.read_text(encoding="utf-8") for path in sources)
    looked_for = re.findall(r"grep (?:-E|-A \d+) '?([\w|]+)", RUNBOOK)
    explained = re.findall(r"^\| (`.+?`) \|", RUNBOOK.partition("| event |")[2], re.MULTILINE)
    assert looked_for
    assert explained
    named = {event for names in [*looked_for, *explained] for event in re.findall(r"\w+", names)}
    assert {event for event in named if f'"{event}"' not in source} == set()


def test_every_error_code_is_the_services_failure_or_the_publishers_mistake() -> None:
    named = {codes.strip("|") for rule in rules() for codes in re.findall(r'error_code[=!]~"(.*?)"', rule["expr"])}
    assert len(named) == 1
    assert set(named.pop().split("|")) == {code for code in ErrorCode if not code.is_client_error}


def test_rules_name_only_metrics_that_there_are() -> None:
    described = {family.name for family in Meter().registry.collect()}
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        bare = re.sub(r'\{[^}]*\}|"[^"]*"', "", rule["expr"])
        for name in re.findall(r"\b(?:task|stream|jetstream|dead|model|worker|nats|redis)_\w+\b(?!:)", bare):
            family = re.sub(r"_(total|sum|count|bucket)$", "", name)
            assert (
                {name, family} & (described | OF_NATS)
                or name == "task_name"
                or any(name in recorded_name for recorded_name in recorded)
            ), name


def test_nobody_waits_long_for_the_news_of_a_dead_worker() -> None:
    prometheus, route = read("prometheus.yml")["global"], read("alertmanager.yml")["route"]
    times = [prometheus[name] for name in ("scrape_interval", "scrape_timeout", "evaluation_interval")]
    for alert in ("NoWorker", "WorkerDown", "WorkerMissing"):
        assert sum(map(seconds, [*times, ALERTS[alert]["for"], route["group_wait"]])) < SOONEST
