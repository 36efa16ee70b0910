"""`dnc.run`: runs a manifest in this process."""

from __future__ import annotations

import json
import numbers
import os
from collections.abc import Mapping
from typing import Any, Union

from . import _progress
from ._library import DncError, Handle, _native, call, next_event, request
from ._run import Run
from ._run import open as open_run

#: Milliseconds after which Ctrl-C is heard.
_POLL = 100

Path = Union[str, "os.PathLike[str]"]


def run(
    manifest: Path,
    set: Mapping[str, Any] | None = None,
    *,
    device: str = "auto",
    from_: str | None = None,
    until: str | None = None,
    threads: int | None = None,
    store: Path | None = None,
    runs: Path | None = None,
    progress: _progress.Progress = None,
) -> Run:
    """Runs a manifest and returns the run. Only what is not in the store yet is computed.

    `set` replaces values of the manifest, as in `{"stage.train.epochs": 2}`. The other arguments are those of the command line:
    `device` is auto, cpu, cuda or cuda:N; `from_` reruns a stage or node and everything downstream; `until` runs only what is upstream of
    one; `store` and `runs` are folders.

    `progress` is None for a bar of tqdm if it is installed and the output can be redrawn, else lines; "bar" or "lines"; False for warnings
    only; or a function that is called with each event.

    Ctrl-C stops the run; what was finished stays in the store. The run's nodes use threads of this process.

    Raises `DncError` if the manifest is wrong or a node failed; then `error.run` is the run.
    """
    show = _progress.choose(progress)
    overrides = [f"{key}={toml(value, key)}" for key, value in (set or {}).items()]
    values = {"manifest": os.fspath(manifest), "set": overrides, "device": device, "from": from_, "until": until}
    text = request(**values, threads=threads, store=store, runs=runs)
    running = Handle(call("dnc_start", text), "running")
    try:
        while True:
            event = next_event(running, _POLL)
            if event is None:
                continue
            if event["event"] in ("ended", "error", "closed"):
                break
            show(event)
    except BaseException:
        # Ctrl-C, or an error of `show`. Freeing waits until the run has stopped and its folder is written.
        _native.dnc_stop(running.pointer)
        running.free()
        raise
    finally:
        if isinstance(show, _progress._Bar):
            show.close()
    running.free()
    if event["event"] != "ended":
        raise DncError(event.get("message", "The run ended without a result"))
    finished = open_run(event["path"], store=store, runs=runs)
    if event["failed"]:
        error = DncError("\n".join(f"{node['node']} failed: {node['error']}" for node in event["failed"]))
        error.run = finished
        raise error
    return finished


def toml(value: Any, key: str) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        return repr(float(value))
    if isinstance(value, (str, os.PathLike)):
        return json.dumps(os.fspath(value), ensure_ascii=False)
    if isinstance(value, Mapping):
        entries = (f"{json.dumps(str(name), ensure_ascii=False)} = {toml(item, key)}" for name, item in value.items())
        return "{ " + ", ".join(entries) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item, key) for item in value) + "]"
    raise DncError(f"`{key}` is set to a `{type(value).__name__}`; TOML has texts, numbers, booleans, lists and tables")
