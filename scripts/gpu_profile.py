"""Which kernels a step of our benchmarks spends its time in, by NVIDIA's `ncu`: gpu_check.sh calls it.

usage: gpu_profile.py --here BUNDLE --out profiles.txt --work FOLDER --seconds N [--only PATTERN]

For each row a table of kernels by name and grid, so that layers of different size are told apart, with counts and microseconds of one step;
and for the first row the details (`--set basic`) of the slowest launch of each of its three most expensive kernels.
"""
import argparse, csv, glob, os, re, shutil, subprocess, sys, time

ROWS = [
    ("train_step/resnet50/224/b80", "bf16"),
    ("train_step/efficientnet_lite0/96/b80", "bf16"),
    ("train_step/vit_small_patch16/224/b80", "bf16"),
    ("train_step/resnet18/64/b80", "bf16"),
    ("embed/resnet50/224/b80", "bf16"),
    ("embed/efficientnet_lite0/96/b80", "bf16"),
    ("train_step/resnet50/224/b16", "tf32"),
]
ROW_SECONDS, LAUNCHES = 60, 4000
TIME = "gpu__time_duration.sum"


def left():
    return ARGUMENTS.seconds - (time.monotonic() - BEGAN)


def ncu_path():
    places = ["/usr/local/cuda/bin/ncu", *sorted(glob.glob("/opt/nvidia/nsight-compute/*/ncu"))]
    return shutil.which("ncu") or next((place for place in places if os.access(place, os.X_OK)), None)


def run_ncu(arguments, name, precision, reps):
    """What ncu prints, or None. It is interrupted when the time is over, and prints what it has."""
    log = os.path.join(ARGUMENTS.work, "ncu.txt")
    if os.path.exists(log):
        os.remove(log)
    command = [ncu_path(), "--clock-control", "none", "--log-file", log, *arguments, os.path.join(ARGUMENTS.here, "examples/bench_models"),
               f"^{name}/{precision}$", "--device", ARGUMENTS.device, "--precision", precision, "--reps", str(reps)]
    seconds = int(max(min(ROW_SECONDS, left()), 5))
    done = subprocess.run(["timeout", "--signal=INT", "--kill-after=5", str(seconds), *command], capture_output=True, text=True)
    if not os.path.exists(log):
        print(f"ncu: code {done.returncode}: {(done.stdout + done.stderr)[-500:]}", flush=True)
        return None
    return open(log, errors="replace").read()


def launches_of(text):
    """(kernel, grid, block, microseconds) of each launch, in order."""
    table = csv.reader(line for line in text.splitlines() if line.startswith('"'))
    heading = next(table, None)
    if heading is None or TIME not in heading:
        return []
    places = [heading.index(name) for name in ("Kernel Name", "Grid Size", "Block Size", TIME)]
    rows = [[row[place] for place in places] for row in table if row[0].isdigit()]
    # With --print-units base: nanoseconds.
    return [(kernel, grid, block, float(time.replace(",", "")) / 1e3) for kernel, grid, block, time in rows]


def last_step(launches):
    """Where the last step begins: the longest end of the list that is there twice. The whole list if no end is."""
    shapes = [launch[:3] for launch in launches]
    lengths = range(len(shapes) // 2, 1, -1)
    length = next((length for length in lengths if shapes[-length:] == shapes[-2 * length:-length]), len(shapes))
    return len(shapes) - length


def table_of(step):
    """Lines (kernel, grid, block, count, microseconds in all, share in percent), the most expensive first."""
    groups = {}
    for kernel, grid, block, microseconds in step:
        count, total = groups.get((kernel, grid, block), (0, 0.0))
        groups[kernel, grid, block] = count + 1, total + microseconds
    everything = sum(total for _, total in groups.values()) or 1.0
    lines = [(*key, count, total, 100 * total / everything) for key, (count, total) in groups.items()]
    return sorted(lines, key=lambda line: -line[4])


def short(kernel):
    return kernel if len(kernel) <= 90 else kernel[:44] + "…" + kernel[-45:]


def write_row(out, name, precision):
    """The last step's launches, and the number of launches before it; None if ncu said nothing."""
    arguments = ["--metrics", TIME, "--csv", "--page", "raw", "--print-units", "base", "--print-kernel-base", "function",
                 "--launch-count", str(LAUNCHES)]
    began = time.monotonic()
    text = run_ncu(arguments, name, precision, 1)
    launches = launches_of(text or "")
    out.write(f"\n== {name}/{precision}: ")
    if not launches:
        out.write(f"no launches\n{(text or '')[-1500:]}\n")
        return None
    begin = last_step(launches)
    step = launches[begin:]
    total = sum(launch[3] for launch in step)
    out.write(f"{len(step)} launches, {total:.0f} µs in kernels, of {len(launches)} launches profiled in {time.monotonic() - began:.0f} s\n")
    by_kernel = {}
    for kernel, _, _, microseconds in step:
        count, sum_before = by_kernel.get(kernel, (0, 0.0))
        by_kernel[kernel] = count + 1, sum_before + microseconds
    out.write("\nby kernel:\n      µs      %  count  kernel\n")
    for kernel, (count, microseconds) in sorted(by_kernel.items(), key=lambda item: -item[1][1]):
        out.write(f"{microseconds:8.1f} {100 * microseconds / total:6.2f} {count:6}  {short(kernel)}\n")
    out.write("\nby kernel and grid:\n      µs      %  count  each µs  grid, block, kernel\n")
    for kernel, grid, block, count, microseconds, share in table_of(step):
        out.write(f"{microseconds:8.1f} {share:6.2f} {count:6} {microseconds / count:8.2f}  {grid} {block} {short(kernel)}\n")
    out.flush()
    return launches, begin


def write_worst(out, name, precision, launches, begin):
    """The details of the slowest launch of each of the three most expensive kernels."""
    totals = {}
    for kernel, _, _, microseconds in launches[begin:]:
        totals[kernel] = totals.get(kernel, 0.0) + microseconds
    for kernel in sorted(totals, key=totals.get, reverse=True)[:3]:
        if left() < 10:
            return
        slowest = max(range(begin, len(launches)), key=lambda place: launches[place][3] if launches[place][0] == kernel else -1.0)
        before = sum(launch[0] == kernel for launch in launches[:slowest])
        arguments = ["--set", "basic", "--kernel-name-base", "function", "--kernel-name", kernel, "--launch-skip", str(before), "--launch-count", "1"]
        out.write(f"\n== slowest launch of {kernel}, {launches[slowest][3]:.1f} µs\n{run_ncu(arguments, name, precision, 1) or ''}\n")
        out.flush()


def main():
    if ncu_path() is None:
        sys.exit("there is no ncu")
    rows = [row for row in ROWS if re.search(ARGUMENTS.only, "/".join(row))]
    with open(ARGUMENTS.out, "w") as out:
        for place, row in enumerate(rows):
            if left() < 15:
                break
            found = write_row(out, *row)
            if found is None:
                # It would fail for the others, too.
                break
            print(f"{'/'.join(row)}: profiled, {left():.0f} s left", flush=True)
            if place == 0:
                write_worst(out, *row, *found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--here", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--only", default=".")
    parser.add_argument("--device", default="cuda:0")
    ARGUMENTS = parser.parse_args()
    os.makedirs(ARGUMENTS.work, exist_ok=True)
    BEGAN = time.monotonic()
    main()
