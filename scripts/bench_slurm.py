#!/usr/bin/env python3
"""Time of 201 trivial nodes on a real Slurm of three nodes on this machine (slurm_cluster.py): a fan-out of 100, a second node behind each,
and a merge. In turns: dnc-run with small nodes in groups of eight and, with --one-node-per-job, without groups (`group = 1`); a hand-written
array with `afterok`; and Snakemake with its Slurm plugin, where it is installed.

    bench_slurm.py --dnc target/release/dnc-run --folder target/slurm [--turns 3] [--one-node-per-job] [--snakemake PATH]
        [--snakemake-turns 1]

Prints one JSON object a line: every turn, then the ratios of medians.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from slurm_cluster import Cluster, Project, require

WIDTH = 100


def manifest():
    def stage(name, run, inputs=()):
        pairs = ", ".join(f'{one} = "{one}"' for one in inputs)
        return f'[stage.{name}]\nkind = "command"\nin = {{ {pairs} }}\nrun = "{run}"\noutputs = {{ {name} = "files" }}\n'

    text = 'name = "m"\n'
    for index in range(WIDTH):
        text += stage(f"a{index}", f"echo {index} > {{out.a{index}}}/x")
        text += stage(f"b{index}", f"cat {{in.a{index}}} > {{out.b{index}}}/x", [f"a{index}"])
    sources = [f"b{index}" for index in range(WIDTH)]
    return text + stage("merge", f"cat {' '.join(f'{{in.{one}}}' for one in sources)} > {{out.merge}}/x", sources)


SNAKEFILE = f"""
rule merge:
    input: expand("b{{i}}", i=range({WIDTH}))
    output: "merge"
    shell: "cat {{input}} > {{output}}"
rule b:
    input: "a{{i}}"
    output: "b{{i}}"
    shell: "cat {{input}} > {{output}}"
rule a:
    output: "a{{i}}"
    wildcard_constraints: i="[0-9]+"
    shell: "echo {{wildcards.i}} > {{output}}"
"""


class Turns:
    def __init__(self, arguments, cluster):
        self.arguments, self.cluster, self.turn = arguments, cluster, 0

    def folder(self, name):
        folder = self.arguments.folder / f"{name}-{self.turn}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def check(self, merged):
        require(merged.read_text().split() == [str(index) for index in range(WIDTH)], f"{merged} is wrong")

    def dnc_run(self, group=8):
        folder = self.arguments.folder / f"dnc-{group}-{self.turn}"
        project = Project(folder, self.arguments.dnc, self.cluster, manifest(), f"group = {group}\n")
        begun = time.perf_counter()
        project.run(seconds=600)
        took = time.perf_counter() - begun
        ran = sum(node["outcome"] == "ran" for node in project.nodes())
        require(ran == 2 * WIDTH + 1, f"{ran} nodes ran")
        return took

    def dnc_run_one_node_per_job(self):
        return self.dnc_run(group=1)

    def array(self):
        """As a person writes it: one array per level, each task of which is one node."""
        folder = self.folder("array")
        common = ["sbatch", "--parsable", f"--chdir={folder}", f"--output={folder}/log.%j", "--mem=100M"]
        array = f"--array=0-{WIDTH - 1}"
        begun = time.perf_counter()
        first = self.cluster.call(*common, array, "--wrap=echo $SLURM_ARRAY_TASK_ID > a$SLURM_ARRAY_TASK_ID").strip()
        second = self.cluster.call(*common, array, f"--dependency=afterok:{first}",
                                   "--wrap=cat a$SLURM_ARRAY_TASK_ID > b$SLURM_ARRAY_TASK_ID").strip()
        parts = " ".join(f"b{index}" for index in range(WIDTH))
        self.cluster.call(*common, f"--dependency=afterok:{second}", f"--wrap=cat {parts} > part && mv part merge")
        self.cluster.wait_for((folder / "merge").exists, "the array does not end", 600)
        took = time.perf_counter() - begun
        self.check(folder / "merge")
        return took

    def snakemake(self):
        folder = self.folder("snakemake")
        (folder / "Snakefile").write_text(SNAKEFILE)
        words = [self.arguments.snakemake, "--executor", "slurm", "--jobs", "200", "--quiet", "all", "--default-resources", "mem_mb=1000",
                 "slurm_partition=main", "runtime=10", "--slurm-no-account", "--slurm-status-command", "squeue"]
        # Its jobs do not get SLURM_CONF, and look for the settings where Debian has them.
        default = Path("/etc/slurm/slurm.conf")
        require(not default.exists(), f"Snakemake's jobs would use {default}, which is another cluster's")
        default.parent.mkdir(exist_ok=True)
        default.symlink_to(self.cluster.folder / "etc/slurm.conf")
        try:
            begun = time.perf_counter()
            done = subprocess.run(self.cluster.inside("ctl", *words), cwd=folder, env=self.cluster.environment, capture_output=True, text=True)
            took = time.perf_counter() - begun
        finally:
            default.unlink()
        require(done.returncode == 0, f"snakemake ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        self.check(folder / "merge")
        return took


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dnc", required=True, type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--folder", required=True, type=lambda path: Path(path).resolve())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--snakemake", default=shutil.which("snakemake"), help="the program, in an environment with its Slurm plugin")
    parser.add_argument("--one-node-per-job", action="store_true", help="measure `group = 1` as well")
    parser.add_argument("--snakemake-turns", type=int, default=1, help="it takes minutes a turn")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with Cluster(arguments.folder / "cluster") as cluster:
        turns, took = Turns(arguments, cluster), {}
        for turns.turn in range(max(arguments.turns, arguments.snakemake_turns)):
            ours = [turns.dnc_run, *([turns.dnc_run_one_node_per_job] if arguments.one_node_per_job else []), turns.array]
            theirs = [turns.snakemake] if arguments.snakemake and turns.turn < arguments.snakemake_turns else []
            for run in [*(ours if turns.turn < arguments.turns else []), *theirs]:
                cluster.wait_for(lambda: cluster.idle() == len(cluster.nodes), "the nodes are not idle", 120)
                seconds = run()
                took.setdefault(run.__name__, []).append(seconds)
                print(json.dumps({"name": run.__name__, "seconds": round(seconds, 2)}), flush=True)
        medians = {name: statistics.median(seconds) for name, seconds in took.items()}
        for own in [name for name in medians if name.startswith("dnc_run")]:
            for peer, target in [("array", 1.3), ("snakemake", 0.3)]:
                if peer in medians:
                    print(json.dumps({"name": f"{own} / {peer}", "ratio": round(medians[own] / medians[peer], 3), "target": target}))


if __name__ == "__main__":
    main()
