"""Runs: their tables, their model, and search in them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from . import _html
from ._images import ImageLike, Images, chunks, is_id, many
from ._library import Handle, call, call_json, request
from ._table import Table


def open(
    run: str | os.PathLike[str],
    *,
    store: str | os.PathLike[str] | None = None,
    runs: str | os.PathLike[str] | None = None,
) -> Run:
    """Opens a run: its folder, `<name>/<n>`, or `<name>` for the last run of that name."""
    return Run(call("dnc_open", request(run=os.fspath(run), store=store, runs=runs)))


def runs(
    name: str | None = None,
    *,
    store: str | os.PathLike[str] | None = None,
    runs: str | os.PathLike[str] | None = None,
) -> list[Run]:
    """The runs of the project that contains the current folder, or those of one name, by name and number."""
    folders = map(Path, call_json("dnc_runs", request(store=store, runs=runs)))
    # A folder without `run.json` is that of a run that is about to start.
    found = (path for path in folders if (path / "run.json").exists() and name in (None, path.parent.name))
    return [open(path, store=store, runs=runs) for path in found]


class Run:
    """A run that has ended, or that goes on elsewhere: what `run.json` said when it was opened."""

    def __init__(self, handle: int) -> None:
        self._handle = Handle(handle, "run")
        described = call_json("dnc_describe_run", handle)
        #: `<name>/<n>`.
        self.id: str = described["id"]
        #: Name in the manifest, and number among the runs of this name.
        self.name: str = described["name"]
        self.number: int = described["number"]
        #: Folder of the run.
        self.path = Path(described["path"])
        self.seed: int = described["seed"]
        #: The resolved manifest: TOML.
        self.manifest: str = described["manifest"]
        #: The evaluation of the chosen round, with `node`, `round`, `learners` and `split`.
        self.chosen: dict[str, Any] | None = described["chosen"]
        #: The result in a sentence, if a round was chosen.
        self.result: str | None = described["result"]
        #: What is in `run.json`.
        self.record: dict[str, Any] = described["record"]
        self._searchers: dict[tuple[str | None, bool], Handle] = {}

    @cached_property
    def metrics(self) -> Table:
        """Metrics of all evaluations. `low` and `high` are the 95 % interval over the queries, for those that are means over queries."""
        return self._table(table="metrics")

    @cached_property
    def queries(self) -> Table:
        """Result of each query of the stages `evaluate`: neighbours, distances, rank of the first right one, average precision."""
        return self._table(table="queries")

    def embeddings(self, node: str = "evaluate") -> Table:
        """Embeddings that a node wrote: `id`, `label`, `split`, `vector`. Of a stage with rounds it is the chosen round, else the last."""
        return self.table(node, "embeddings")

    def table(self, node: str, output: str) -> Table:
        """An output of a node as a table, such as `table("train@1[0]", "history")`."""
        return self._table(table="output", node=node, output=output)

    def _table(self, **which: str) -> Table:
        return Table(call("dnc_table", self._handle.pointer, request(**which)))

    def model(self) -> Model:
        """The model of the chosen round."""
        return Model(call("dnc_model", self._handle.pointer))

    def search(
        self,
        images: ImageLike | int | Iterable[ImageLike | int],
        k: int = 10,
        *,
        within: str | None = None,
        learner: int | None = None,
        approximate: bool = False,
    ) -> Table:
        """The `k` nearest images of the run to each image: a table with `query`, the position of the image among `images`.

        An image is what `Model.embed` takes, or the id of an image of the run. `within` is a split of the run or "all"; by default images
        are searched where the run's own queries were. `learner` compares in the subspace of one learner, counted from 0. `approximate`
        uses the run's index. `share_right` is the share of right neighbours at that distance among the run's queries.
        """
        ids: list[int | None] = []
        passed = Images()
        for number, image in enumerate(many(images)):
            ids.append(int(image) if is_id(image) else None)
            if not is_id(image):
                passed.add(image, f"Image {number}")
        searcher = self._searcher(within, approximate)
        asked = request(ids=ids, k=k, learner=learner)
        return Table(call("dnc_search", searcher.pointer, passed.array(), len(passed), asked))

    def _searcher(self, within: str | None, approximate: bool) -> Handle:
        key = (within, approximate)
        if key not in self._searchers:
            pointer = call("dnc_searcher", self._handle.pointer, request(within=within, approximate=approximate))
            self._searchers[key] = Handle(pointer, "searcher")
        return self._searchers[key]

    def report(self) -> Path:
        """Writes the report of the run, one HTML file, and returns its path."""
        return Path(call_json("dnc_report", self._handle.pointer))

    def __repr__(self) -> str:
        return f"<dnc.Run {self.id}{': ' + self.result if self.result else ''}>"

    def _repr_html_(self) -> str:
        chosen = self.chosen["node"] if self.chosen else None
        return _html.run(self.id, str(self.path), self.result, self.metrics.to_dicts(), chosen)


class Model:
    """The model of a run, which embeds images as the run embedded its own."""

    def __init__(self, handle: int) -> None:
        self._handle = Handle(handle, "model")
        described = call_json("dnc_describe_model", handle)
        #: The node that evaluated it.
        self.node: str = described["node"]
        #: Dimension of the embeddings.
        self.dim: int = described["dim"]
        #: Side of the square that the network takes, in pixels.
        self.side: int = described["side"]

    def embed(self, images: ImageLike | Iterable[ImageLike]) -> Any:
        """The L2-normalised embeddings of images: a NumPy array `(images, dim)` of type float32.

        An image is a path, the bytes of an image file, an image of Pillow, or a NumPy array `(height, width, 3)` of type uint8. It is
        resized, cropped and normalised as the run's own images were. `images` may be a generator: a few are in memory at a time.

        Without NumPy the result is a memoryview of the same shape.
        """
        vectors = bytearray()
        for chunk in chunks(images):
            rows = (ctypes.c_float * (len(chunk) * self.dim))()
            call("dnc_embed", self._handle.pointer, chunk.array(), len(chunk), rows)
            vectors += memoryview(rows).cast("B")
        try:
            import numpy
        except ImportError:
            values = memoryview(vectors).cast("f")
            rows_found = len(values) // self.dim
            return memoryview(vectors).cast("f", (rows_found, self.dim)) if rows_found else values
        return numpy.frombuffer(vectors, numpy.float32).reshape(-1, self.dim)

    def __repr__(self) -> str:
        return f"<dnc.Model of {self.node}: {self.dim} dimensions, images of {self.side} × {self.side} pixels>"
