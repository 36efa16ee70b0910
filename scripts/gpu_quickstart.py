"""Runs the quickstart on a device, several at a time, and writes its metrics: gpu_check.sh calls it; with `--device cpu` it gives the values to
compare with.

usage: gpu_quickstart.py --dnc BINARY --pipelines FOLDER --out quickstart.json --work FOLDER [--device cuda:0] [--seeds 0,1] [--precisions f32,bf16]
       [--repeat]

The file is a list of objects; one that is there is added to. With --repeat, each run is made twice, with a store each, and the digests of all
outputs must be equal: exits with 1 otherwise, or if a run fails.
"""
import argparse, glob, hashlib, json, os, shutil, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

NETWORKS = ("train", "embed", "evaluate")


def run(precision, seed, repetition):
    folder = os.path.join(ARGUMENTS.work, f"{ARGUMENTS.device.replace(':', '-')}-{precision}-{seed}-{repetition}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ARGUMENTS.pipelines, folder)
    command = [ARGUMENTS.dnc, "quickstart.toml", "--device", ARGUMENTS.device, "--quiet", "--set", f"seed={seed}"]
    if ARGUMENTS.threads:
        command += ["--threads", ARGUMENTS.threads]
    if precision != "f32":
        command += [word for stage in NETWORKS for word in ("--set", f"stage.{stage}.precision={precision}")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DNC_") or name == "DNC_CUDA_LIBRARIES"}
    result = {"device": ARGUMENTS.device, "precision": precision, "seed": seed}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=ARGUMENTS.limit)
    except subprocess.TimeoutExpired:
        return {**result, "error": f"took longer than {ARGUMENTS.limit:.0f} s"}
    if done.returncode != 0:
        return {**result, "error": f"code {done.returncode}: {(done.stdout + done.stderr)[-600:]}"}
    with open(glob.glob(f"{folder}/runs/*/1/run.json")[0]) as file:
        told = json.load(file)
    outputs = {node["node"]: node.get("outputs") for node in told["nodes"]}
    shutil.rmtree(folder, ignore_errors=True)
    digest = hashlib.sha256(json.dumps(outputs, sort_keys=True).encode()).hexdigest()[:16]
    return {**result, "arithmetic": told.get("arithmetic"), "seconds": round(told["seconds"], 1), "digest": digest,
            "nodes": len(outputs), "metrics": metrics_of(done.stdout), "outputs": outputs}


def metrics_of(text):
    """The printed table: for each node the metrics of the test classes."""
    metrics, headings = {}, []
    for words in map(str.split, text.splitlines()):
        if words[:3] == ["node", "learners", "split"]:
            headings = words
        elif len(words) == len(headings) and len(words) > 3 and words[2] == "test":
            metrics[words[0]] = {heading: float(word) for heading, word in zip(headings[3:], words[3:])}
    return metrics


def different(first, second):
    """The nodes whose outputs are not the same in two runs."""
    if "error" in first or "error" in second:
        return []
    names = first["outputs"].keys() | second["outputs"].keys()
    return sorted(name for name in names if first["outputs"].get(name) != second["outputs"].get(name))


def main():
    seeds, precisions = map(int, ARGUMENTS.seeds.split(",")), ARGUMENTS.precisions.split(",")
    settings = [(precision, seed) for seed in seeds for precision in precisions]
    repetitions = range(2 if ARGUMENTS.repeat else 1)
    with ThreadPoolExecutor(ARGUMENTS.parallel) as pool:
        runs = {(*setting, repetition): pool.submit(run, *setting, repetition) for setting in settings for repetition in repetitions}
    results, failed = [], False
    for setting in settings:
        made = [runs[*setting, repetition].result() for repetition in repetitions]
        result = made[0]
        if ARGUMENTS.repeat:
            result["different_when_repeated"] = different(*made)
            failed |= bool(result["different_when_repeated"]) or "error" in made[1]
        failed |= "error" in result
        last = max((node for node in result.get("metrics", {}) if node.startswith("evaluate@")), default=None)
        print(json.dumps({**{key: value for key, value in result.items() if key not in ("metrics", "outputs")},
                          "last": result["metrics"][last] if last else None,
                          **({"second": made[1].get("error", made[1].get("digest"))} if ARGUMENTS.repeat else {})}), flush=True)
        result.pop("outputs", None)
        results.append(result)
    before = []
    if os.path.exists(ARGUMENTS.out):
        with open(ARGUMENTS.out) as file:
            before = json.load(file)
    with open(ARGUMENTS.out, "w") as file:
        file.write("[\n" + ",\n".join(map(json.dumps, before + results)) + "\n]\n")
    sys.exit(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dnc", required=True, type=os.path.abspath)
    parser.add_argument("--pipelines", required=True, help="folder with quickstart.toml and its data")
    parser.add_argument("--out", required=True)
    parser.add_argument("--work", required=True, type=os.path.abspath)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--precisions", default="f32")
    parser.add_argument("--repeat", action="store_true")
    parser.add_argument("--parallel", type=int, default=4, help="how many runs at a time")
    parser.add_argument("--threads", default="", help="threads of each run")
    parser.add_argument("--limit", type=float, default=600, help="seconds of one run")
    ARGUMENTS = parser.parse_args()
    os.makedirs(ARGUMENTS.work, exist_ok=True)
    main()
