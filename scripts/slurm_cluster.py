"""A real Slurm cluster on this machine, for test_slurm.py and bench_slurm.py: slurmctld, and one slurmd per node, each in a network
namespace of its own, so that a node can be powered off or cut off. Installs Debian's packages where they are missing. Needs root.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PACKAGES = ["slurmctld", "slurmd", "slurm-client", "munge", "iproute2"]
PREFIX = "dnc"
NETWORK = "10.77.0"
CGROUPS = Path("/sys/fs/cgroup/memory")
CONF = """ClusterName=dnc
SlurmctldHost=ctl({network}.100)
SlurmUser=root
AuthType=auth/munge
# A job that is queued again waits this long (the default is 120 s).
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin={task}
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1000
# A node may advertise more than this machine has.
SlurmdParameters=config_overrides
ReturnToService=2
# Sites have 300 s.
SlurmdTimeout=10
MessageTimeout=5
KillWait=5
JobRequeue=1
MaxArraySize=10001
SchedulerParameters=bf_interval=2,sched_min_interval=0,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
"""


def require(holds, message):
    if not holds:
        raise SystemExit(f"{Path(sys.argv[0]).stem}: {message}")


def install():
    """Installs what is missing, without starting its services."""
    require(os.geteuid() == 0, "it makes network namespaces, which needs root; run it in a container or a virtual machine")
    installed = lambda name: subprocess.run(["dpkg", "-s", name], capture_output=True).returncode == 0
    require(shutil.which("dpkg"), f"it needs Debian or Ubuntu, for the packages {' '.join(PACKAGES)}")
    missing = [name for name in PACKAGES if not installed(name)]
    if not missing:
        return
    policy = Path("/usr/sbin/policy-rc.d")
    if own := not policy.exists():
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        subprocess.run(["apt-get", "update", "-qq"])
        done = subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], capture_output=True, text=True,
                              env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        require(done.returncode == 0, f"cannot install {' '.join(missing)}:\n{done.stdout}{done.stderr}")
    finally:
        if own:
            policy.unlink()


def tree(pid):
    """A process and everything below it, the leaves first."""
    below = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [one for child in below for one in tree(int(child))] + [pid]


def kill(*pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Cluster:
    """`with Cluster(folder) as cluster`: three nodes that are idle; everything is stopped at the end."""

    def __init__(self, folder, nodes=3, cpus=6, memory=16000):
        self.folder, self.nodes, self.cpus, self.memory = folder, [f"n{index + 1}" for index in range(nodes)], cpus, memory
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "etc/slurm.conf")}
        self.drivers = []
        self.limits_memory = (CGROUPS / "memory.limit_in_bytes").exists()

    def __enter__(self):
        install()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        leftover = [name for name in self.namespaces() if Path("/run/netns", name).exists()]
        require(not leftover, f"another cluster runs, or was left: `ip netns del` {' '.join(leftover)}")
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def namespaces(self):
        return [f"{PREFIX}-{name}" for name in ["ctl", *self.nodes]]

    def ip(self, *words, check=True):
        subprocess.run(["ip", *words], check=check, capture_output=not check)

    def start(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ["etc", "state", "log", "run", "munge", *[f"spool/{node}" for node in self.nodes]]:
            (self.folder / name).mkdir(parents=True)
        control = f"{PREFIX}-ctl"
        for name in self.namespaces():
            self.ip("netns", "add", name)
            self.ip("-n", name, "link", "set", "lo", "up")
        self.ip("-n", control, "link", "add", "br0", "type", "bridge")
        self.ip("-n", control, "addr", "add", f"{NETWORK}.100/24", "dev", "br0")
        self.ip("-n", control, "link", "set", "br0", "up")
        for number, node in enumerate(self.nodes, 1):
            own = f"{PREFIX}-{node}"
            self.ip("-n", control, "link", "add", f"v{node}", "type", "veth", "peer", "name", "eth0", "netns", own)
            self.ip("-n", control, "link", "set", f"v{node}", "master", "br0", "up")
            self.ip("-n", own, "addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
            self.ip("-n", own, "link", "set", "eth0", "up")
        self.start_munge()
        text = CONF.format(folder=self.folder, network=NETWORK, task="task/cgroup" if self.limits_memory else "task/none")
        for number, node in enumerate(self.nodes, 1):
            text += f"NodeName={node} NodeAddr={NETWORK}.{number} CPUs={self.cpus} RealMemory={self.memory} State=UNKNOWN\n"
        text += "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1\n"
        # Its jobs take the place of those in `main`, which are queued again.
        text += "PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF\n"
        (self.folder / "etc/slurm.conf").write_text(text)
        (self.folder / "etc/cgroup.conf").write_text("CgroupAutomount=no\nConstrainRAMSpace=yes\n")
        self.controller_on()
        for node in self.nodes:
            self.power_on(node)
        self.wait_for(lambda: self.idle() == len(self.nodes), "the nodes are not idle", 60)

    def start_munge(self):
        folder = self.folder / "munge"
        (folder / "key").write_bytes(os.urandom(128))
        (folder / "key").chmod(0o400)
        subprocess.run(["chown", "-R", "munge:munge", folder], check=True)
        for parent in [self.folder, *self.folder.parents]:
            require(parent.stat().st_mode & 0o005 == 0o005, f"the user `munge` cannot enter {parent}; choose another --folder")
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={folder / name}" for option, name in files.items()]
        subprocess.run(["runuser", "-u", "munge", "--", "/usr/sbin/munged", *options, "--force"], check=True)

    def inside(self, name, *words):
        """The command line that runs `words` on the machine `name`. `ip netns exec` would hide the memory cgroups from slurmd."""
        script = f'hostname {name}; exec "$@"'
        return ["nsenter", f"--net=/run/netns/{PREFIX}-{name}", "unshare", "-u", "sh", "-c", script, "sh", *map(str, words)]

    def call(self, *words):
        """What a program of Slurm writes, called on the controller's machine; nothing if it fails."""
        done = subprocess.run(self.inside("ctl", *words), env=self.environment, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    def idle(self):
        return len(self.call("sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%n").split())

    def jobs(self):
        """Every job that Slurm still knows: id, state, name, reason, nodes."""
        lines = self.call("squeue", "-h", "--array", "--states=all", "--format=%i|%T|%j|%r|%N").splitlines()
        return [dict(zip(["id", "state", "name", "reason", "nodes"], line.split("|"))) for line in lines]

    def wait_for(self, holds, message, seconds):
        end = time.monotonic() + seconds
        while not (found := holds()):
            require(time.monotonic() < end, f"{message} after {seconds} s; see {self.folder}/log")
            time.sleep(0.1)
        return found

    def controller_on(self):
        subprocess.run(self.inside("ctl", "slurmctld"), env=self.environment, check=True)
        self.wait_for(lambda: self.call("scontrol", "ping").count("UP"), "slurmctld does not answer", 30)

    def controller_off(self, how=signal.SIGTERM):
        """After SIGTERM it saves its state; SIGKILL is a crash, after which it has forgotten the last seconds."""
        self.end_daemon(self.folder / "run/slurmctld.pid", how)

    def resume(self):
        """What an administrator does with nodes that the controller does not trust any more."""
        self.call("scontrol", "update", f"NodeName={','.join(self.nodes)}", "State=RESUME")

    def end_daemon(self, pid_file, how=signal.SIGKILL):
        pid = int(pid_file.read_text())
        os.kill(pid, how)
        self.wait_for(lambda: not is_alive(pid), f"process {pid} lives", 20)
        pid_file.unlink(missing_ok=True)

    def steps(self, node):
        """The processes of Slurm that supervise the jobs of a node: those in its network namespace."""
        there = os.stat(f"/run/netns/{PREFIX}-{node}").st_ino
        found = []
        for pid in subprocess.run(["pgrep", "-x", "slurmstepd"], capture_output=True, text=True).stdout.split():
            try:
                if os.stat(f"/proc/{pid}/ns/net").st_ino == there:
                    found.append(int(pid))
            except FileNotFoundError:
                pass
        return found

    def power_off(self, node):
        """slurmd and every process of the node's jobs vanish at once."""
        self.end_daemon(self.folder / f"run/slurmd.{node}.pid")
        kill(*[pid for step in self.steps(node) for pid in tree(step)])
        shutil.rmtree(self.folder / f"spool/{node}")
        (self.folder / f"spool/{node}").mkdir()

    def power_on(self, node):
        subprocess.run(self.inside(node, "slurmd"), env=self.environment, check=True)

    def cut(self, node):
        self.ip("-n", f"{PREFIX}-ctl", "link", "set", f"v{node}", "down")

    def join(self, node):
        self.ip("-n", f"{PREFIX}-ctl", "link", "set", f"v{node}", "up")

    def end_drivers(self, but=()):
        """Kills the drivers that still run."""
        kill(*[pid for driver in self.drivers if driver.poll() is None and driver not in but for pid in tree(driver.pid)])

    def stop(self):
        self.end_drivers()
        for file in [self.folder / "run/slurmctld.pid", *self.folder.glob("run/slurmd.*.pid"), self.folder / "munge/pid"]:
            if file.exists() and file.read_text().strip():
                kill(int(file.read_text()))
        for node in self.nodes:
            if Path(f"/run/netns/{PREFIX}-{node}").exists():
                kill(*[pid for step in self.steps(node) for pid in tree(step)])
        for name in self.namespaces():
            self.ip("netns", "del", name, check=False)
        # Another cluster gives the same ids to its jobs, and would find their limits and counts.
        for node in self.nodes:
            for folder, _, _ in os.walk(CGROUPS / f"slurm_{node}", topdown=False):
                try:
                    os.rmdir(folder)
                except OSError as error:
                    print(f"cannot remove {folder}: {error}", file=sys.stderr)


class Project:
    """A folder with a manifest, and dnc-run in it, on the machine of the controller."""

    def __init__(self, folder, dnc, cluster, manifest, settings=""):
        self.folder, self.dnc, self.cluster, self.name = folder, dnc, cluster, "m"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / ".dnc").mkdir(parents=True)
        (folder / "m.toml").write_text(manifest.replace("HERE", str(folder)))
        (folder / "dnc.toml").write_text(f"[executor.slurm]\n{settings}")
        self.said = folder / "said.txt"

    def start(self, *words, slurm=True, **environment):
        """Starts the driver, in a process group of its own."""
        words = [self.dnc, "m.toml", "--progress", "plain", *(["--executor", "slurm"] if slurm else []), *words]
        with open(self.said, "w") as said:
            driver = subprocess.Popen(self.cluster.inside("ctl", *words), cwd=self.folder, stdout=said, stderr=said,
                                      env={**self.cluster.environment, **environment}, stdin=subprocess.DEVNULL, start_new_session=True)
        self.cluster.drivers.append(driver)
        return driver

    def end(self, driver, code=0, seconds=150):
        """Waits for a driver: what it said."""
        try:
            ended = driver.wait(seconds)
        except subprocess.TimeoutExpired:
            kill(*tree(driver.pid))
            ended = f"nothing within {seconds} s"
        require(ended == code, f"{self.folder.name}: the driver ended with {ended} and not {code}:\n{self.said.read_text()}")
        return self.said.read_text()

    def run(self, *words, code=0, slurm=True, seconds=150, **environment):
        return self.end(self.start(*words, slurm=slurm, **environment), code, seconds)

    def nodes(self):
        runs = sorted((run for run in (self.folder / "runs" / self.name).iterdir() if run.name.isdigit()), key=lambda run: int(run.name))
        return json.loads((runs[-1] / "run.json").read_text())["nodes"]

    def digests(self):
        return {f"{node['node']}.{output}": digest for node in self.nodes() for output, digest in (node.get("outputs") or {}).items()}
