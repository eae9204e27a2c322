"""Write the Grafana dashboard from its description: `python tools/make_dashboard.py`."""

import json
from pathlib import Path
from typing import Any, TypeAlias

import yaml

FOLDER = Path(__file__).parents[1] / "deploy/monitoring/grafana"
WRITTEN = FOLDER / "dashboards/natscribe.json"
WIDTH = 24  # columns of Grafana's grid
NUMBER, COURSE = (3, 4), (8, 8)  # width and height
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Json: TypeAlias = dict[str, Any]


def number(panel: Json) -> Json:
    """Make a panel that shows the current value of a query."""
    steps = [{"color": color, "value": value} for value, color in panel.get("steps", [[None, "green"]])]
    defaults = {
        "unit": panel.get("unit", "short"),
        "noValue": "-",
        "color": {"mode": "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    options = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "auto",
        "wideLayout": True,
    }
    return {"type": "stat"} | _shown(defaults, options, [{"expr": panel["now"], "legend": "__auto"}])


def course(panel: Json) -> Json:
    """Make a panel that shows queries over time."""
    stacked = panel.get("stacked", False)
    defaults = {
        "unit": panel.get("unit", "short"),
        "min": 0,
        "color": {"mode": "palette-classic"},
        "custom": {
            "drawStyle": "line",
            "fillOpacity": 30 if stacked else 5,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        },
    }
    if "most" in panel:
        defaults["max"] = panel["most"]
    options = {
        "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"hideZeros": True, "mode": "multi", "sort": "desc"},
    }
    return {"type": "timeseries"} | _shown(defaults, options, panel["queries"])


def _shown(defaults: Json, options: Json, queries: list[dict[str, str]]) -> Json:
    targets = [
        {
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": query["expr"],
            "legendFormat": query["legend"],
            "range": True,
            "refId": letter,
        }
        for letter, query in zip("ABCDEFGH", queries, strict=False)
    ]
    return {"fieldConfig": {"defaults": defaults, "overrides": []}, "options": options, "targets": targets}


def panels(rows: list[Json]) -> list[Json]:
    """Make all rows and their panels, placed from left to right."""
    found: list[Json] = []
    y = 0
    for row in rows:
        bar = {"type": "row", "title": row["row"], "collapsed": False, "panels": []}
        found.append(bar | _place(found, 0, y, WIDTH, 1))
        x, y = 0, y + 1
        for panel in row["panels"]:
            width, height = NUMBER if "now" in panel else COURSE
            if x + width > WIDTH:
                x, y = 0, y + height
            about = {"title": panel["title"], "description": panel["description"], "datasource": SOURCE}
            shown = number(panel) if "now" in panel else course(panel)
            found.append(about | shown | _place(found, x, y, width, height))
            x += width
        y += height
    return found


def _place(before: list[Json], x: int, y: int, width: int, height: int) -> Json:
    return {"id": len(before) + 1, "gridPos": {"h": height, "w": width, "x": x, "y": y}}


def choice(name: str, label: str, query: str) -> Json:
    """Make a variable of the dashboard, with which a person chooses all or some values of a label."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "multi": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def dashboard() -> Json:
    """Make the whole dashboard from `dashboard.yml`."""
    rows = yaml.safe_load((FOLDER / "dashboard.yml").read_text(encoding="utf-8"))
    return {
        "uid": "natscribe",
        "title": "Natscribe",
        "description": "Whether people wait, what runs, how fast, what fails and what it takes.",
        "tags": ["natscribe"],
        "schemaVersion": 41,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"},
                choice("queue", "Queue", "label_values(task_queue_size, queue_name)"),
                choice("task", "Kind", "label_values(task_in_progress, task_name)"),
                choice("worker", "Worker", "label_values(natscribe_build_info, instance)"),
            ]
        },
        "panels": panels(rows),
    }


def written() -> str:
    """Return the dashboard as the text of its file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    WRITTEN.write_text(written(), encoding="utf-8")
