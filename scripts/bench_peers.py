"""Our benchmarks against the peers', row by row and in turns on the same machine: `make bench-peers [ONLY=pattern]`.

Each round runs our binary and then the peers' script (PEERS/bench_torch.py under PEERS_PYTHON) for one row, so that whatever else
the machine does falls on both. A process gives its median; a row is the median over the rounds, and the ratio is that of
the best peer, as where PyTorch has two layouts. Prints one JSON object a row and a table at the end. Only the standard
library is needed here; the product never runs this.
"""
import argparse, json, os, re, statistics, subprocess, sys

# Ours, the peers' names for the same work (a regular expression), the ratio that we promise; the row's binary.
ROWS = [
    ("train_step/resnet18/64/b80", "(/channels_last)?", 1.25, "bench_models"),
    ("train_step/efficientnet_lite0/96/b80", "(/channels_last)?", 1.5, "bench_models"),
    ("train_step/resnet50/224/b16", "(/channels_last)?", 1.3, "bench_models"),
    ("embed/resnet18/64/b80", "(/channels_last)?", 1.0, "bench_models"),
    ("embed/efficientnet_lite0/96/b80", "(/channels_last)?", 1.3, "bench_models"),
    ("embed/resnet50/224/b16", "(/channels_last)?", 1.3, "bench_models"),
    ("decode/eval/jpeg500/224", "", 2.0, "bench_data"),
    ("decode/train/jpeg500/224", "", 2.0, "bench_data"),
    ("neighbours/n60502/d128/k1001/q6000", "", 2.0, "bench_search"),
    ("neighbours/n60502/d512/k101/q6000", "", 2.0, "bench_search"),
    ("kmeans/lloyd/n60000/d1280/k8/i20", "", 1.0, "bench_search"),
    ("kmeans/lloyd/n60000/d1280/k32/i20", "", 1.0, "bench_search"),
    ("kmeans/lloyd/n60502/d128/k11316/i5", "", 1.5, "bench_search"),
]


def lines(command):
    """The JSON lines of a program, and its largest resident size in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"`{' '.join(command)}` failed with {process.returncode}")
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")], usage.ru_maxrss // 1024


def measure(row, arguments):
    name, layouts, wanted, binary = row
    ours_command = [os.path.join(arguments.binaries, binary), f"^{name}$", "--threads", arguments.threads]
    pattern = "^" + name.replace("/lloyd/", "/(faiss|sklearn)/")
    peer_command = [arguments.python, os.path.join(arguments.peers, "bench_torch.py"), "--threads", arguments.threads]
    ours, peers = [], {}
    for _ in range(arguments.rounds):
        for line in lines([*ours_command, "--reps", arguments.reps])[0]:
            ours.append(line["seconds"])
        for line in lines([*peer_command, "--reps", arguments.reps, pattern + layouts + "$"])[0]:
            peers.setdefault(line["name"], []).append(line["seconds"])
    medians = {peer: statistics.median(seconds) for peer, seconds in peers.items()}
    best = min(medians, key=medians.get)
    ours = statistics.median(ours)
    result = {"name": name, "seconds": ours, "peer": best, "peer_seconds": medians[best],
              "ratio": round(medians[best] / ours, 2), "wanted": wanted, "others": medians}
    if name.startswith("train_step/"):
        # One layout, one repetition: the largest resident size of the whole process, libraries included.
        result["peak_mib"] = lines([*ours_command, "--reps", "2"])[1]
        result["peer_peak_mib"] = lines([*peer_command, "--reps", "2", pattern + "$"])[1]
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("pattern", nargs="?", default=".")
    parser.add_argument("--binaries", required=True, help="folder of our benchmarks")
    parser.add_argument("--peers", required=True, help="folder of bench_torch.py")
    parser.add_argument("--python", default="python3", help="a Python with the peers installed")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reps", default="5")
    arguments = parser.parse_args()
    results = []
    for row in ROWS:
        if re.search(arguments.pattern, row[0]):
            results.append(measure(row, arguments))
            print(json.dumps(results[-1]), flush=True)
    print(f"\n{'name':42} {'ours':>9} {'peer':>9} {'ratio':>6} {'wanted':>6}", file=sys.stderr)
    for row in results:
        memory = f"  {row['peak_mib']} MiB, peer {row['peer_peak_mib']} MiB" if "peak_mib" in row else ""
        peer = row["peer"].removeprefix(row["name"]).strip("/") or "contiguous"
        print(f"{row['name']:42} {row['seconds']:9.4f} {row['peer_seconds']:9.4f} {row['ratio']:6.2f} "
              f"{row['wanted']:6.2f}  {peer}{memory}", file=sys.stderr)


main()
