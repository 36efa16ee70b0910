"""Alternates between our benchmarks and PyTorch's on one GPU, for docs/src/benchmarks/gpu.md. gpu_check.sh calls it; only the standard library is needed.

usage: gpu_rows.py --here BUNDLE --out gpu.json --work FOLDER --go FILE --seconds N [--only PATTERN] [--takes 5]

Starts a process of gpu_peers.py for each group of rows at once, so that they compile while something else is tested, and measures nothing
until FILE exists and they are ready. Then ours, PyTorch's, ours … for all rows, several times over; a time is the median of its takes. Ends
after N seconds with what it has. gpu.json is a list of objects; the ratio is PyTorch's time over ours, PyTorch in its fastest setting of
the same precision.
"""
import argparse, json, os, queue, re, signal, statistics, subprocess, sys, threading, time

# Name, our precision, our repetitions, our binary; the most important ones first.
ROWS = [
    ("train_step/resnet50/224/b80", "bf16", 20, "bench_models"),
    ("train_step/efficientnet_lite0/96/b80", "bf16", 60, "bench_models"),
    ("train_step/vit_small_patch16/224/b80", "bf16", 20, "bench_models"),
    ("train_step/resnet18/64/b80", "bf16", 100, "bench_models"),
    ("embed/resnet50/224/b80", "bf16", 60, "bench_models"),
    ("train_step/resnet50/224/b16", "bf16", 50, "bench_models"),
    ("train_step/resnet50/224/b16", "tf32", 30, "bench_models"),
    ("embed/efficientnet_lite0/96/b80", "bf16", 150, "bench_models"),
    ("embed/vit_small_patch16/224/b80", "bf16", 60, "bench_models"),
    ("embed/resnet18/64/b80", "bf16", 200, "bench_models"),
    ("neighbours/n60502/d512/k101/q6000", "f32", 10, "bench_search"),
    ("neighbours/n60502/d512/k101/q6000/search", "f32", 10, "bench_search"),
    ("train_step/resnet18/64/b80", "tf32", 60, "bench_models"),
    ("train_step/resnet18/64/b80", "f32", 60, "bench_models"),
]
# cuDNN's search for algorithms may take this long in all; rows after that have what cuDNN recommends.
TUNING_SECONDS = 75
OURS_SECONDS, PEER_SECONDS = 30, 120
# The measurements have at least this share of the time, even if some peers are not ready by then: those are ended.
MEASURING = 0.4


def say(text):
    print(f"[{time.monotonic() - BEGAN:.0f} s] {text}", flush=True)


def group_of(name):
    return "neighbours" if name.startswith("neighbours") else name.split("/", 1)[1]


class Peer:
    """A process of gpu_peers.py. `answer` is None if it does not answer in time; it is ended then."""

    def __init__(self, group):
        self.group = group
        log = open(os.path.join(ARGUMENTS.work, f"peer-{group.replace('/', '-')}.log"), "w")
        environment = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "3"}
        # The last thing that is compiled may take half a minute.
        seconds = max(ARGUMENTS.seconds * (1 - MEASURING) - 30, 0)
        command = ["nice", "-n", "5", ARGUMENTS.python, os.path.join(ARGUMENTS.here, "gpu_peers.py"), group,
                   "--seconds", str(seconds), "--device", ARGUMENTS.peer_device]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                                        env=environment, start_new_session=True)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        self.ready = None

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def answer(self, seconds):
        try:
            line = self.lines.get(timeout=max(seconds, 0.01))
        except queue.Empty:
            line = None
        if line is None:
            self.end()
            return None
        return json.loads(line)

    def ask(self, row, tune):
        try:
            self.process.stdin.write(json.dumps({"row": row, "tune": tune}) + "\n")
            self.process.stdin.flush()
        except OSError:
            self.end()
            return None
        return self.answer(min(PEER_SECONDS, left()))

    def end(self):
        """Ends it with the compilers that it has started; its session is its own."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def is_there(self):
        return self.ready is not None and self.process.poll() is None


def left():
    return ARGUMENTS.seconds - (time.monotonic() - BEGAN)


def our_command(name, precision, reps, binary):
    command = [os.path.join(ARGUMENTS.here, "examples", binary), f"^{name}(/{precision})?$", "--device", ARGUMENTS.device,
               "--threads", str(os.cpu_count()), "--reps", str(reps)]
    return command + (["--precision", precision] if binary == "bench_models" else [])


def ours(row):
    """The row of JSON that our binary prints, or a text that says what went wrong."""
    try:
        done = subprocess.run(our_command(*row), capture_output=True, text=True, timeout=max(min(OURS_SECONDS, left()), 1))
    except subprocess.TimeoutExpired:
        return "took too long"
    except OSError as error:
        return str(error)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        return f"code {done.returncode}: {done.stderr.strip()[-300:]}"
    return lines[-1]


class Measured:
    """The takes of a row."""

    def __init__(self, row):
        self.row, self.ours, self.peers, self.errors = row, [], {}, {}
        self.tuned, self.peak, self.cost, self.failures = False, None, 8.0, 0

    def take(self, peer, tune):
        name, began = self.row[0], time.monotonic()
        found = ours(self.row)
        if isinstance(found, str):
            self.failures += 1
            self.errors["ours"] = found
        else:
            self.ours.append(found["seconds"] * 1e3)
            if found.get("peak_bytes"):
                self.peak = (round(found["peak_bytes"] / 2**20), "tensors")
        if peer:
            self.tuned |= tune
            asked = time.monotonic()
            answer = peer.ask(name, self.tuned) or {"settings": {}, "errors": {"peer": "did not answer"}}
            asked = time.monotonic() - asked
            self.errors.update(answer["errors"])
            for setting, measured in answer["settings"].items():
                self.peers.setdefault(setting, []).append(measured)
        else:
            asked = 0
        self.cost = time.monotonic() - began
        return asked

    def best(self, precision):
        """The fastest setting of a precision, or of all; its median in ms."""
        medians = {setting: statistics.median(take["ms"] for take in takes) for setting, takes in self.peers.items()
                   if precision in (None, takes[0]["precision"])}
        setting = min(medians, key=medians.get, default=None)
        return setting, medians.get(setting)

    def result(self, card, libraries):
        name, precision, *_ = self.row
        mine = statistics.median(self.ours) if self.ours else None
        rounded = lambda value, digits=3: None if value is None else round(value, digits)
        ratio = lambda theirs: rounded(theirs / mine) if theirs and mine else None
        (peer, theirs), (best, best_ms) = self.best(precision), self.best(None)
        without = [take["ms_without_waiting"] for take in self.peers.get(peer, [])]
        return {
            "name": f"{name}/{precision}", "card": card, "libraries": libraries,
            "ours_ms": rounded(mine), "peer": peer, "peer_ms": rounded(theirs), "ratio": ratio(theirs),
            "ours_takes_ms": [rounded(take) for take in self.ours],
            "peer_takes_ms": [rounded(take["ms"]) for take in self.peers.get(peer, [])],
            "peer_ms_without_waiting": rounded(statistics.median(without)) if without else None,
            "fastest_peer": best, "fastest_peer_ms": rounded(best_ms), "fastest_ratio": ratio(best_ms),
            "peers_ms": {setting: rounded(statistics.median(take["ms"] for take in takes)) for setting, takes in self.peers.items()},
            "peer_tuned": self.tuned,
            "ours_peak_mib": self.peak and self.peak[0], "ours_peak_of": self.peak and self.peak[1],
            "peer_peak_mib": max((take["peak_mib"] for take in self.peers.get(peer, [])), default=None),
            "errors": self.errors,
        }


def process_memory(row):
    """How much of the card's memory our program takes, libraries included, by what nvidia-smi says of the whole card."""
    sample = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", ARGUMENTS.device.rpartition(":")[2]]
    try:
        before = int(subprocess.run(sample, capture_output=True, text=True, timeout=5).stdout)
        sampler = subprocess.Popen([*sample, "-lms", "20"], stdout=subprocess.PIPE, text=True)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    ours((row[0], row[1], 10, row[3]))
    sampler.terminate()
    used = [int(line) for line in sampler.communicate()[0].splitlines() if line.strip().isdigit()]
    return (max(used) - before, "process") if used else None


def card_of():
    ordinal = ARGUMENTS.device.rpartition(":")[2]
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", "-i", ordinal]
    try:
        card, _, driver = subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.strip().partition(", ")
    except (OSError, subprocess.TimeoutExpired):
        card = driver = ""
    return card or "unknown", driver or "unknown"


def start_peers(rows):
    found = subprocess.run([ARGUMENTS.python, "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is None)"])
    if found.returncode != 0:
        say("no PyTorch: only our rows are measured")
        return {}
    return {group: Peer(group) for group in dict.fromkeys(group_of(row[0]) for row in rows)}


def wait_for(peers):
    """Until all peers have compiled and the file that says go exists."""
    waiting = dict(peers)
    while waiting or not os.path.exists(ARGUMENTS.go):
        for group, peer in list(waiting.items()):
            if peer.process.poll() is None and peer.lines.empty() and left() > ARGUMENTS.seconds * MEASURING:
                continue
            del waiting[group]
            peer.ready = peer.answer(0.5)
            errors = peer.ready and peer.ready["errors"]
            say(f"{group}: {'ready in %.0f s' % peer.ready['seconds'] if peer.ready else 'not ready: ended'}" + (f"; {errors}" if errors else ""))
            if not waiting:
                open(os.path.join(ARGUMENTS.work, "ready"), "w").close()
        if not os.path.exists(ARGUMENTS.go) and left() < ARGUMENTS.seconds / 8:
            sys.exit("the card did not become free in time")
        time.sleep(0.1)


def main():
    rows = [row for row in ROWS if re.search(ARGUMENTS.only, f"{row[0]}/{row[1]}")]
    card, driver = card_of()
    peers = start_peers(rows)
    try:
        wait_for(peers)
        said = [peer.ready["libraries"] for peer in peers.values() if peer.ready]
        libraries = f"driver {driver}"
        if said:
            libraries = f"CUDA {said[0]['cuda']}, cuDNN {said[0]['cudnn']}, {libraries}, PyTorch {said[0]['torch']}"
        everything = [Measured(row) for row in rows]

        def write():
            results = [measured.result(card, libraries) for measured in everything if measured.ours or measured.peers or measured.errors]
            with open(ARGUMENTS.out + ".part", "w") as file:
                # An object a line.
                file.write("[\n" + ",\n".join(json.dumps(result) for result in results) + "\n]\n")
            os.replace(ARGUMENTS.out + ".part", ARGUMENTS.out)

        tuning = 0.0
        for take in range(ARGUMENTS.takes):
            for measured in everything:
                if measured.failures > 1 or left() < measured.cost + 3:
                    continue
                peer = peers.get(group_of(measured.row[0]))
                peer = peer if peer and peer.is_there() else None
                tune = take == 0 and tuning < TUNING_SECONDS
                seconds = measured.take(peer, tune)
                tuning += seconds if tune else 0
                write()
                result = measured.result(card, libraries)
                say(f"take {take + 1}, {result['name']}: ours {measured.ours[-1:]} ms, PyTorch {result['peer_ms']} ms ({result['peer']}), "
                    f"ratio {result['ratio']}, {measured.cost:.1f} s {measured.errors or ''}")
        for measured in everything:
            if ARGUMENTS.memory and measured.ours and measured.peak is None and left() > 6:
                measured.peak = process_memory(measured.row)
        write()
    finally:
        for peer in peers.values():
            peer.end()
    print(f"\n{'row':46} {'ours ms':>9} {'PyTorch':>9} {'ratio':>6} {'fastest':>9} {'ratio':>6} {'MiB':>7} {'PyTorch':>7}  setting")
    for measured in everything:
        row = measured.result(card, libraries)
        cell = lambda key: "-" if row[key] is None else row[key]
        print(f"{row['name']:46} {cell('ours_ms'):>9} {cell('peer_ms'):>9} {cell('ratio'):>6} {cell('fastest_peer_ms'):>9} {cell('fastest_ratio'):>6} "
              f"{cell('ours_peak_mib'):>7} {cell('peer_peak_mib'):>7}  {row['peer']}; {len(measured.ours)} takes{'' if row['peer_tuned'] else ', not tuned'}")
        for setting, milliseconds in sorted(row["peers_ms"].items(), key=lambda pair: pair[1]):
            print(f"    {milliseconds:9} ms  {setting}")
        if row["errors"]:
            print(f"    errors: {row['errors']}")
    sys.exit(any("ours" in measured.errors for measured in everything))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--here", required=True, help="folder with examples/ and gpu_peers.py")
    parser.add_argument("--out", required=True, help="gpu.json")
    parser.add_argument("--work", required=True, help="folder for logs; the file `ready` in it says that the peers are")
    parser.add_argument("--go", required=True, help="file that says that the card is free")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--only", default=".", help="which rows: a regular expression")
    parser.add_argument("--takes", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="measure our memory where the benchmark does not tell it")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--peer-device", default="cuda")
    parser.add_argument("--python", default="python3")
    ARGUMENTS = parser.parse_args()
    os.makedirs(ARGUMENTS.work, exist_ok=True)
    BEGAN = time.monotonic()
    # So that the peers are ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
