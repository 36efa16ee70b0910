"""Tables: Arrow data that polars, pandas, pyarrow and DuckDB read without a copy."""

from __future__ import annotations

import json
from typing import Any

from . import _html
from ._library import Handle, call, call_json, capsule, taken

#: Rows that are shown.
SHOWN = 10


class Table:
    """A table of a run.

    It has the Arrow PyCapsule interface: `polars.DataFrame(table)`, `pyarrow.table(table)`,
    `pandas.DataFrame.from_arrow(table)`, `duckdb.sql("from table")` after `import pyarrow`. `to_dicts` needs no library.
    """

    def __init__(self, handle: int) -> None:
        self._handle = Handle(handle, "table")
        described = call_json("dnc_describe_table", handle)
        self._rows: int = described["rows"]
        self.columns: list[str] = described["columns"]

    def __len__(self) -> int:
        return self._rows

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        # The interface lets a producer ignore a requested schema.
        return capsule(call("dnc_stream", self._handle.pointer))

    def to_dicts(self, limit: int | None = None) -> list[dict[str, Any]]:
        """The rows as dictionaries, at most `limit` of them."""
        count = self._rows if limit is None else max(0, min(limit, self._rows))
        # The lines are one JSON text.
        lines = json.loads(taken(call("dnc_rows", self._handle.pointer, count)))
        return [json.loads(line) for line in lines.splitlines()]

    def __repr__(self) -> str:
        return f"<dnc.Table of {self._rows:,} rows: {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        return _html.table(self.columns, self.to_dicts(SHOWN), self._rows)
