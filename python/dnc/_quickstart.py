"""The quickstart: a manifest with 5,305 drawings of emoji, which is part of this package."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Union

_FILES = Path(__file__).with_name("quickstart")


def quickstart(folder: Union[str, "os.PathLike[str]"] = ".") -> Path:
    """Copies the quickstart into a folder and returns the path of its manifest. Files that exist there are left as they are."""
    folder = Path(folder)
    for source in sorted(path for path in _FILES.rglob("*") if path.is_file()):
        target = folder / source.relative_to(_FILES)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copyfile(source, target)
    return folder / "quickstart.toml"
