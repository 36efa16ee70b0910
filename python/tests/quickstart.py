"""A small run of the quickstart that the tests share, and its pictures."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import dnc
import polars

#: What makes the quickstart small.
SMALL = {
    "rounds.learners": [1, 2],
    "stage.decode.per_class": 2,
    "stage.augment.views": 4,
    "stage.init.backbone": "small",
    "stage.init.crop": 32,
    "stage.init.resize": 32,
    "stage.train.epochs": 1,
    "stage.train.sampler.per_class": 2,
}


@functools.cache
def folder() -> Path:
    """A project of its own."""
    path = Path(tempfile.mkdtemp(prefix="dnc-python-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def manifest() -> Path:
    """The manifest of the quickstart, in the project."""
    return dnc.quickstart(folder())


@functools.cache
def small() -> dnc.Run:
    """A run that has ended."""
    return dnc.run(manifest(), set=SMALL, progress=False)


@functools.cache
def pictures() -> polars.DataFrame:
    """The pictures that were evaluated in the chosen round, with `vector` as the run stored it and `image` as the bytes of its file."""
    files = polars.read_parquet(folder() / "data" / "open-emoji-mini.parquet")
    files = files.with_columns(polars.col("class", "source").cast(polars.String))
    images = polars.DataFrame(small().table("decode", "images"))
    images = images.with_columns(polars.col("class", "source").cast(polars.String)).select("id", "class", "source")
    stored = polars.DataFrame(small().embeddings("evaluate")).select("id", "vector")
    return stored.join(images, on="id").join(files, on=["class", "source"])
