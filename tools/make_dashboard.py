"""Write the Grafana dashboard from its description: `python tools/make_dashboard.py`."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeAlias

import yaml

FOLDER = Path(__file__).parents[1] / "deploy/monitoring/grafana"
WRITTEN = FOLDER / "dashboards/natscribe.json"
WIDTH = 24  # columns of Grafana's grid
SIZES = {"stat": (3, 4), "timeseries": (8, 8)}  # width and height
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Json: TypeAlias = dict[str, Any]


def panel(kind: str, template: Json, description: Json) -> Json:
    """Make a panel of a kind from its template and what the description gives."""
    copy = deepcopy(template)
    defaults = copy["fieldConfig"]["defaults"]
    defaults["unit"] = description.get("unit", defaults["unit"])
    if kind == "stat":
        steps = description.get("steps", [[None, "green"]])
        defaults["thresholds"]["steps"] = [{"color": color, "value": value} for value, color in steps]
    else:
        stacked = description.get("stacked", False)
        defaults["custom"]["fillOpacity"] = 30 if stacked else 5
        defaults["custom"]["stacking"]["mode"] = "normal" if stacked else "none"
        defaults |= {"max": description["most"]} if "most" in description else {}
    queries = description.get("queries") or [{"expr": description["now"], "legend": "__auto"}]
    targets = [
        {"datasource": SOURCE, "editorMode": "code", "range": True, "refId": letter}
        | {"expr": query["expr"], "legendFormat": query["legend"]}
        for letter, query in zip("ABCDEFGH", queries, strict=False)
    ]
    titles = {"title": description["title"], "description": description["description"]}
    return {**titles, "datasource": SOURCE, **copy, "targets": targets}


def panels(source: Json) -> list[Json]:
    """Make all rows and their panels, placed from left to right."""
    placed: list[Json] = []
    y = 0

    def add(new_panel: Json, x: int, width: int, height: int) -> None:
        placed.append(new_panel | {"id": len(placed) + 1, "gridPos": {"h": height, "w": width, "x": x, "y": y}})

    for row in source["rows"]:
        add({"type": "row", "title": row["row"], "collapsed": False, "panels": []}, 0, WIDTH, 1)
        x, y = 0, y + 1
        for description in row["panels"]:
            kind = "stat" if "now" in description else "timeseries"
            width, height = SIZES[kind]
            if x + width > WIDTH:
                x, y = 0, y + height
            add(panel(kind, source[kind], description), x, width, height)
            x += width
        y += height
    return placed


def written() -> str:
    """Return the dashboard as the text of its file."""
    source = yaml.safe_load((FOLDER / "dashboard.yml").read_text(encoding="utf-8"))
    variables = [
        {"name": name, "label": variable["label"], "datasource": SOURCE, **source["variable"]}
        | {"query": {"query": variable["query"], "refId": name}}
        for name, variable in source["variables"].items()
    ]
    choices = [{"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}, *variables]
    dashboard = {**source["dashboard"], "templating": {"list": choices}, "panels": panels(source)}
    return json.dumps(dashboard, indent=1) + "\n"


if __name__ == "__main__":
    WRITTEN.write_text(written(), encoding="utf-8")
