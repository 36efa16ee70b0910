"""Divide-and-conquer metric learning in Python: run a manifest, read its tables, embed and search images.

>>> import dnc
>>> run = dnc.run(dnc.quickstart(), set={"stage.train.epochs": 2})
>>> polars.DataFrame(run.metrics)
>>> run.model().embed(["cat.jpg", "dog.jpg"])
>>> run.search("cat.jpg", k=5)
"""

from importlib.metadata import version as _version

from ._library import DncError
from ._quickstart import quickstart
from ._run import Model, Run, open, runs
from ._start import run
from ._table import Table

__all__ = ["DncError", "Model", "Run", "Table", "open", "quickstart", "run", "runs"]
__version__ = _version("dnc-run")
