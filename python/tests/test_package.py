"""The installed package: the program, types, versions."""

import importlib.metadata
import re
import subprocess
import unittest
from pathlib import Path

import dnc

#: The newest symbol version of glibc that the wheel may need: that of RHEL 9, Debian 12 and Ubuntu 22.04.
GLIBC = (2, 34)


class Package(unittest.TestCase):
    def test_the_program_is_on_the_path(self):
        printed = subprocess.run(["dnc-run", "--version"], capture_output=True, text=True, check=True).stdout
        self.assertEqual(printed.strip(), f"dnc-run {dnc.__version__}")

    def test_the_module_is_typed_and_fits_every_python(self):
        self.assertTrue(Path(dnc.__file__).with_name("py.typed").exists())
        wheel = importlib.metadata.distribution("dnc-run").read_text("WHEEL")
        self.assertRegex(wheel, r"Tag: py3-none-(manylinux|linux)")

    def test_an_old_glibc_is_enough(self):
        program = subprocess.run(["sh", "-c", "command -v dnc-run"], capture_output=True, text=True).stdout.strip()
        for path in [Path(dnc.__file__).with_name("libdnc.so"), Path(program)]:
            found = set(re.findall(rb"GLIBC_(\d+)\.(\d+)", path.read_bytes()))
            newest = max((int(major), int(minor)) for major, minor in found)
            self.assertLessEqual(newest, GLIBC, path)
