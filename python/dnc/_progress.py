"""Progress of a run: a bar of tqdm, or lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Union

#: An event, as `dnc-run --progress json` prints it, with its plain line as `line`.
Event = dict[str, Any]
#: How progress is shown; see `dnc.run`.
Progress = Union[None, bool, str, Callable[[Event], object]]

#: Seconds between two changes of a bar's text.
_REDRAW = 0.2
#: Events that are shown even without progress.
_IMPORTANT = {"warning", "notice"}


def choose(progress: Progress) -> Callable[[Event], object]:
    """What is called with each event."""
    if callable(progress):
        return progress
    if progress is False:
        return _quiet
    if progress == "lines":
        return _lines
    bar = _tqdm() if progress in (None, True, "bar") else None
    if bar is not None and (progress == "bar" or _can_redraw()):
        return _Bar(bar)
    if progress == "bar":
        raise ImportError('`progress="bar"` needs tqdm: `pip install tqdm`, or choose `progress="lines"`')
    if progress in (None, True):
        return _lines
    raise ValueError(f'`progress` is {progress!r}, but must be None, False, "bar", "lines" or a function')


def _lines(event: Event) -> None:
    if event["line"]:
        print(event["line"], file=sys.stderr, flush=True)


def _quiet(event: Event) -> None:
    if event["event"] in _IMPORTANT:
        _lines(event)


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm


def _can_redraw() -> bool:
    """Whether standard error is a terminal, or the cell of a notebook."""
    return "ipykernel" in sys.modules or sys.stderr.isatty()


class _Bar:
    """A bar over the nodes of a run, with the progress of the node that was heard of last."""

    def __init__(self, tqdm: Any) -> None:
        self._bar = tqdm(unit="node", desc="dnc-run")
        self._drawn = 0.0

    def __call__(self, event: Event) -> None:
        bar, kind = self._bar, event["event"]
        if kind == "run_started":
            bar.reset(total=event["nodes"])
            bar.set_description(event["run"])
        elif kind == "source_progress":
            self._tell(f"hashing `{event['param']}` of `{event['stage']}`")
        elif kind == "remote_progress":
            verb = "sending" if event["sends"] else "fetching"
            self._tell(f"{verb} {event['done'] / 1e6:,.0f} of {event['total'] / 1e6:,.0f} MB")
        elif kind == "node_started":
            self._tell(event["node"])
        elif kind == "node_progress" and event["total"]:
            self._tell(f"{event['node']} {event['done']:,} of {event['total']:,} {event['unit']}")
        elif kind == "node_finished":
            bar.update(event["finished"] - bar.n)
            if event["error"]:
                bar.write(event["line"], file=sys.stderr)
        elif kind in _IMPORTANT:
            bar.write(event["line"], file=sys.stderr)
        elif kind == "run_finished":
            bar.set_postfix_str(event["line"])

    def _tell(self, text: str) -> None:
        if time.monotonic() - self._drawn >= _REDRAW:
            self._drawn = time.monotonic()
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()
