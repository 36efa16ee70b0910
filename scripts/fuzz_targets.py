"""Fuzzes the readers of foreign bytes with coverage feedback: the targets in fuzz/fuzz_targets, by cargo-fuzz and libFuzzer.

No reader may panic, take longer than 10 seconds or more than 2 GB, whatever its input is. The inputs that a target found are kept in
target/fuzz/corpus and used again; those that break something are kept in fuzz/artifacts. The last line has the counts and the seed.

usage: fuzz_targets.py [--seconds 600] [--seed 0] [--only TARGET,…] [--folder target/fuzz]

Needs cargo-fuzz (`cargo install --locked cargo-fuzz`). It works with the stable compiler: there is no address sanitizer, which
needs a nightly one, and nearly no unsafe code that it could watch.
"""
import argparse, glob, os, re, shutil, subprocess, sys, time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
# The inputs that each target begins with, besides those in fuzz/seeds.
SEEDS = {
    "manifest": ["pipelines/*.toml"],
    "records": [],
    "weights": ["stages/learn/tests/fixtures/*.pth", "stages/learn/tests/fixtures/*.safetensors"],
    "picture": ["stages/tables/tests/fixtures/pictures/*"],
    "list": [],
    "parquet": [],
    "mat": ["stages/tests/fixtures/*.mat"],
    "idx": [],
    "http": [],
}
LIMITS = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=65536", "-print_final_stats=1"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="seconds for each target")
    parser.add_argument("--seed", type=int, default=0, help="seed of libFuzzer")
    parser.add_argument("--only", default=",".join(SEEDS), help="targets, separated by commas")
    parser.add_argument("--folder", default=os.path.join(ROOT, "target", "fuzz"), help="where corpora and builds lie")
    options = parser.parse_args()
    targets, folder = options.only.split(","), os.path.abspath(options.folder)
    if unknown := [target for target in targets if target not in SEEDS]:
        sys.exit(f"there is no target `{unknown[0]}`; the targets are {', '.join(SEEDS)}")
    if subprocess.run(["cargo", "fuzz", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        sys.exit("cargo-fuzz is not installed; install it with `cargo install --locked cargo-fuzz`")
    build = ["--sanitizer", "none", "--target-dir", os.path.join(folder, "build")]
    began, inputs, broken = time.monotonic(), 0, []
    for target in targets:
        corpus, seeds = os.path.join(folder, "corpus", target), os.path.join(folder, "seeds", target)
        os.makedirs(corpus, exist_ok=True)
        shutil.rmtree(seeds, ignore_errors=True)
        os.makedirs(seeds)
        for pattern in [*SEEDS[target], f"fuzz/seeds/{target}/*"]:
            for seed in glob.glob(os.path.join(ROOT, pattern)):
                shutil.copy(seed, seeds)
        call = ["cargo", "fuzz", "run", *build, target, corpus, seeds, "--", f"-seed={options.seed}",
                f"-max_total_time={options.seconds}", *LIMITS]
        fuzzer = subprocess.Popen(call, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace")
        last = []
        for line in fuzzer.stderr:
            last = [*last[-60:], line]
        code = fuzzer.wait()
        said = "".join(last)
        found = re.search(r"stat::number_of_executed_units: (\d+)", said)
        executed = int(found.group(1)) if found else 0
        inputs += executed
        if code or not executed:
            broken.append(target)
            print(said, file=sys.stderr)
        print(f"{target}: {executed:,} inputs, {len(os.listdir(corpus)):,} kept, {'BROKEN' if target in broken else 'nothing found'}", flush=True)
    minutes = (time.monotonic() - began) / 60
    print(f"fuzz_targets: {inputs:,} inputs of {len(targets)} targets, {len(broken)} violations, {minutes:.0f} min, seed {options.seed}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
