"""What the campaigns share: a project in a temporary folder, runs of `dnc-run` in it, and the line of counts at the end.

A campaign disturbs `dnc-run` in many ways and checks after each that nothing wrong was called done: the run fails with a clear error, or
its outputs have the digests of a run that nobody disturbed. Only the standard library is needed.
"""
import argparse, json, os, random, shutil, subprocess, sys, tempfile, time

# What makes the quickstart a matter of seconds.
SHORT = ["rounds.learners=[1,2]", "stage.decode.per_class=2", "stage.augment.views=4", "stage.train.epochs=2",
         "stage.train.sampler.per_class=2", "stage.init.backbone=small", "stage.init.crop=32", "stage.init.resize=32"]


class Project:
    """A folder with the quickstart, its store and its runs."""

    def __init__(self, folder, options):
        self.folder, self.dnc = folder, os.path.abspath(options.dnc)
        self.settings = [word for setting in ([] if options.whole else SHORT) for word in ("--set", setting)]
        self.store = os.path.join(folder, ".dnc", "store")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "pipelines")
        os.makedirs(os.path.join(folder, ".dnc"))
        shutil.copytree(os.path.join(source, "data"), os.path.join(folder, "pipelines", "data"))
        shutil.copy(os.path.join(source, "quickstart.toml"), os.path.join(folder, "pipelines"))

    def copied(self, folder):
        """A copy of the whole project."""
        shutil.copytree(self.folder, folder, symlinks=True)
        copy = Project.__new__(Project)
        copy.folder, copy.dnc, copy.settings = folder, self.dnc, self.settings
        copy.store = os.path.join(folder, ".dnc", "store")
        return copy

    def command(self, *words):
        """The command line of a run of the quickstart, with further arguments."""
        return [self.dnc, "pipelines/quickstart.toml", "--quiet", *self.settings, *words]

    def call(self, *words, limit=600):
        """Runs `dnc-run` with these words: its exit code and what it says."""
        return self.wait(self.start([self.dnc, *words]), limit)

    def run(self, *words, limit=600):
        """Runs the quickstart."""
        return self.wait(self.start(self.command(*words)), limit)

    def start(self, command):
        return subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, start_new_session=True)

    @staticmethod
    def wait(process, limit=600):
        said = process.communicate(timeout=limit)[0]
        return process.returncode, said

    def last_run(self):
        """What the last run says of itself; None if there is none."""
        runs = os.path.join(self.folder, "runs", "quickstart")
        numbers = [int(name) for name in os.listdir(runs) if name.isdigit()] if os.path.isdir(runs) else []
        if not numbers:
            return None
        with open(os.path.join(runs, str(max(numbers)), "run.json")) as file:
            return json.load(file)

    def digests(self):
        """The digests of the outputs of each node that the last run calls done."""
        nodes = (self.last_run() or {"nodes": []})["nodes"]
        return {node["node"]: node["outputs"] for node in nodes if node["outcome"] in ("ran", "hit")}


class Campaign:
    """Options, random choices, and the counts at the end."""

    def __init__(self, name, about, cases):
        parser = argparse.ArgumentParser(prog=name, description=about)
        parser.add_argument("--dnc", default="target/release/dnc-run", help="the binary")
        parser.add_argument("--seed", type=int, default=1, help="chooses the cases")
        parser.add_argument("--cases", type=int, default=cases, help="number of cases")
        parser.add_argument("--whole", action="store_true", help="the whole quickstart instead of a short one")
        self.name, self.options = name, parser.parse_args()
        self.random = random.Random(self.options.seed)
        self.cases, self.violations, self.notes, self.began = 0, 0, {}, time.monotonic()
        self.folder = tempfile.mkdtemp(prefix=f"{name}-")

    def project(self, name):
        """A project of this name in the campaign's folder."""
        return Project(os.path.join(self.folder, name), self.options)

    def reference(self, project):
        """Runs a project that nobody disturbs: its digests."""
        self.prepare(project.run())
        return project.digests()

    def prepare(self, ended):
        """Ends the campaign if a call that nobody disturbs has failed: its cases would then disturb nothing."""
        code, said = ended
        if code != 0:
            sys.exit(f"{self.name}: a call that nobody disturbs fails:\n{said}")

    def case(self, description, problem):
        """Counts a case; `problem` says what is wrong, if anything."""
        self.cases += 1
        if problem:
            self.violations += 1
            print(f"violation in case {self.cases}, {description}: {problem}", flush=True)

    def count(self, what):
        self.notes[what] = self.notes.get(what, 0) + 1

    def end(self):
        notes = "".join(f", {count} {what}" for what, count in self.notes.items())
        minutes = (time.monotonic() - self.began) / 60
        print(f"{self.name}: {self.cases} cases, {self.violations} violations{notes}; seed {self.options.seed}, "
              f"{minutes:.1f} minutes")
        if self.violations:
            sys.exit(f"{self.name}: the project is kept in {self.folder}")
        shutil.rmtree(self.folder)


def difference(expected, found, complete=True):
    """What digests differ, as a text; nothing if they agree. Without `complete`, nodes may be missing."""
    wrong = [name for name in found if found[name] != expected.get(name)]
    missing = [name for name in expected if name not in found] if complete else []
    texts = [f"other digests of {', '.join(wrong)}"] * bool(wrong) + [f"no {', '.join(missing)}"] * bool(missing)
    return "; ".join(texts)
