"""HTML of tables and runs for notebooks."""

from __future__ import annotations

from html import escape
from typing import Any

#: Metrics that a run shows, as far as it measured them.
HEADLINE = ["recall@1", "recall@10", "map_at_r", "r_precision", "cmc@1", "map", "nmi"]
#: Values of a list that are shown.
LISTED = 4


def table(columns: list[str], rows: list[dict[str, Any]], total: int) -> str:
    """The first rows of a table."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{_cell(row[column])}</td>" for column in columns) + "</tr>" for row in rows)
    more = f"<p>{len(rows):,} of {total:,} rows</p>" if total > len(rows) else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def run(name: str, path: str, result: str | None, metrics: list[dict[str, Any]], chosen: str | None) -> str:
    """A run: its result, and the metrics of each evaluation with half their 95 % intervals over the queries."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for metric in metrics:
        cells.setdefault((metric["node"], metric["split"]), {})[label(metric)] = with_interval(metric)
    measured = {label(metric): None for metric in metrics}
    shown = [name for name in HEADLINE if name in measured] or list(measured)
    head = "".join(f"<th>{escape(name)}</th>" for name in ["node", "split", *shown])
    body = ""
    for (node, split), values in cells.items():
        if not any(name in values for name in shown):
            continue
        texts = [node, split, *(values.get(name, "") for name in shown)]
        tag = "th" if node == chosen else "td"
        body += "<tr>" + "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts) + "</tr>"
    told = f"<p>{escape(result)}</p>" if result else ""
    note = "<p>± is half the 95 % interval over the queries of this run; it says nothing of other seeds.</p>"
    return (
        f"<p><b>Run {escape(name)}</b> <code>{escape(path)}</code></p>{told}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note if body else ''}"
    )


def label(metric: dict[str, Any]) -> str:
    """The name of a metric with its k, such as `recall@1`."""
    return metric["metric"] if metric["k"] is None else f"{metric['metric']}@{metric['k']}"


def with_interval(metric: dict[str, Any]) -> str:
    """The value of a metric with half its interval, such as `0.3962 ± 0.0210`."""
    value = f"{metric['value']:.4f}"
    if metric["low"] is None:
        return value
    return f"{value} ± {(metric['high'] - metric['low']) / 2:.4f}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        shown = ", ".join(_cell(item) for item in value[:LISTED])
        return f"[{shown}{', …' if len(value) > LISTED else ''}]"
    return escape(str(value))
