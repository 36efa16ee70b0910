"""Runs: settings, progress, errors, Ctrl-C."""

import contextlib
import io
import signal
import subprocess
import sys
import threading
import time
import unittest

import dnc
from quickstart import SMALL, folder, manifest, small


class Running(unittest.TestCase):
    def test_a_second_run_finds_everything_and_reports_events(self):
        small()
        events = []
        run = dnc.run(str(manifest()), set=SMALL, progress=events.append)
        kinds = [event["event"] for event in events]
        self.assertEqual((kinds[0], kinds[-1]), ("run_started", "run_finished"))
        self.assertEqual(events[-1]["outcomes"]["ran"], 0)
        self.assertGreater(events[-1]["outcomes"]["hit"], 10)
        self.assertGreater(run.number, small().number)
        self.assertEqual(
            [row["value"] for row in run.metrics.to_dicts()], [row["value"] for row in small().metrics.to_dicts()]
        )
        self.assertIn("stage.train.epochs=1", run.record["overrides"])

    def test_progress_is_lines_or_a_bar(self):
        for progress, expected in [("lines", "Run quickstart/"), ("bar", "nodes"), (False, "")]:
            printed = io.StringIO()
            with contextlib.redirect_stderr(printed):
                dnc.run(manifest(), set=SMALL, progress=progress, until="decode")
            if expected:
                self.assertIn(expected.rstrip("s"), printed.getvalue())
            else:
                self.assertNotIn("decode", printed.getvalue())
        with self.assertRaisesRegex(ValueError, "must be None, False"):
            dnc.run(manifest(), progress="dots")

    def test_other_threads_run_meanwhile(self):
        turns, done = [0], threading.Event()

        def count():
            while not done.wait(0.001):
                turns[0] += 1

        thread = threading.Thread(target=count)
        thread.start()
        begun = time.monotonic()
        dnc.run(manifest(), set={**SMALL, "seed": 5}, progress=False, until="init")
        took = time.monotonic() - begun
        done.set()
        thread.join()
        self.assertGreater(turns[0], took * 50)

    def test_runs_are_found(self):
        small()
        at = {"runs": folder() / "runs"}
        listed = [run.id for run in dnc.runs("quickstart", **at)]
        self.assertIn(small().id, listed)
        self.assertEqual(dnc.runs("nothing", **at), [])
        self.assertEqual(dnc.open(small().id, **at).path, small().path)
        self.assertEqual(dnc.open(small().path).metrics.to_dicts(), small().metrics.to_dicts())
        with self.assertRaisesRegex(dnc.DncError, "Cannot find run `nothing`"):
            dnc.open("nothing", **at)

    def test_a_report_is_written(self):
        path = small().report()
        self.assertIn("<title>", path.read_text()[:3000])


class Errors(unittest.TestCase):
    def test_the_message_is_that_of_the_command_line(self):
        for key, value in [("stage.train.epoch", 2), ("stage.trian.epochs", 2), ("stage.train.epochs", "many")]:
            with self.assertRaises(dnc.DncError) as raised:
                dnc.run(manifest(), set={key: value}, progress=False)
            text = f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}"
            command = ["dnc-run", str(manifest()), "--set", text]
            printed = subprocess.run(command, capture_output=True, text=True).stderr
            self.assertEqual(str(raised.exception).strip(), printed.strip())

    def test_a_failed_node_is_an_error_with_the_run(self):
        path = folder() / "failing.toml"
        path.write_text(
            'name = "failing"\n[stage.fail]\nkind = "command"\nrun = ["false"]\noutputs = { x = "files" }\n'
        )
        with self.assertRaisesRegex(dnc.DncError, "^fail failed: ") as raised:
            dnc.run(path, progress=False)
        self.assertEqual(raised.exception.run.record["nodes"][0]["outcome"], "failed")

    def test_a_value_without_a_form_in_toml_is_named(self):
        with self.assertRaisesRegex(dnc.DncError, "`stage.train.epochs` is set to a `NoneType`"):
            dnc.run(manifest(), set={"stage.train.epochs": None})

    def test_values_become_toml(self):
        from dnc._start import toml

        for value, expected in [
            (True, "true"),
            (1e-5, "1e-05"),
            (float("inf"), "inf"),
            ('a"\n\\', r'"a\"\n\\"'),
            ({"kind": "margin", "beta": [1, 2.5]}, '{ "kind" = "margin", "beta" = [1, 2.5] }'),
        ]:
            self.assertEqual(toml(value, "key"), expected)


class Interrupts(unittest.TestCase):
    def test_ctrl_c_stops_the_run_and_the_next_one_goes_on(self):
        code = f"""if True:
            import dnc
            def show(event):
                if event["event"] == "node_progress" and event["node"].startswith("train"):
                    print("training", flush=True)
            try:
                dnc.run({str(manifest())!r}, set={ {**SMALL, "stage.train.epochs": 500}!r}, progress=show)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        """
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            self.assertEqual(process.stdout.readline(), "training\n")
            process.send_signal(signal.SIGINT)
            begun = time.monotonic()
            rest = process.communicate(timeout=60)[0].split()
            self.assertLess(time.monotonic() - begun, 30)
        self.assertEqual((rest[-1], process.returncode), ("interrupted", 0))
        run = dnc.runs("quickstart", runs=folder() / "runs")[-1]
        outcomes = {node["node"]: node["outcome"] for node in run.record["nodes"]}
        self.assertEqual(outcomes["train@0[0]"], "cancelled")
        self.assertIn(outcomes["decode"], ["hit", "ran"])
        self.assertFalse(run.record.get("unfinished", False))

    def test_an_error_of_the_progress_function_stops_the_run(self):
        def show(event):
            raise RuntimeError("mine")

        with self.assertRaisesRegex(RuntimeError, "mine"):
            dnc.run(manifest(), set={**SMALL, "seed": 9}, progress=show)
