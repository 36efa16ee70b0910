"""The notebooks run from the first cell to the last."""

import tempfile
import unittest
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


class Notebooks(unittest.TestCase):
    def test_they_run(self):
        found = sorted(NOTEBOOKS.glob("*.ipynb"))
        self.assertEqual(len(found), 2)
        for path in found:
            with self.subTest(path.name), tempfile.TemporaryDirectory() as place:
                notebook = nbformat.read(path, as_version=4)
                nbformat.validate(notebook)
                self.assertFalse(any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without output")
                NotebookClient(notebook, timeout=600, resources={"metadata": {"path": place}}).execute()
                texts = [str(output) for cell in notebook.cells for output in cell.get("outputs", [])]
                self.assertTrue(any("text/html" in text for text in texts))
