"""Inertia beside the time: our k-means and faiss's on the same points, over several seeds, in turns.

usage: kmeans_inertia.py [PATTERN] --binaries TARGET/release/examples [--seeds 5] [--threads 2]

The points are those of bench_torch.py. faiss draws points to start from, we draw by k-means++; both start once for each seed and make as
many iterations. Inertia is the sum of squared distances to the nearest of the final centroids, for faiss by its own flat index. Prints one
JSON object a row: medians over the seeds, and the means and the best of the inertia. Needs numpy and faiss; the product never runs this.
"""
import argparse, json, os, re, statistics, subprocess, tempfile, time

import faiss
import numpy as np

ROWS = [(60000, 1280, 8, 20), (60000, 1280, 32, 20), (60502, 128, 11316, 5)]

parser = argparse.ArgumentParser()
parser.add_argument("pattern", nargs="?", default=".")
parser.add_argument("--binaries", required=True, help="folder of our benchmarks")
parser.add_argument("--seeds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
arguments = parser.parse_args()
faiss.omp_set_num_threads(arguments.threads)
random = np.random.default_rng(0)


def ours(name, file, seed):
    command = [os.path.join(arguments.binaries, "bench_search"), f"^{name}$", "--points", file, "--seed", str(seed),
               "--threads", str(arguments.threads), "--reps", "1"]
    row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return row["seconds"], row["inertia"]


def theirs(points, k, iterations, seed):
    kmeans = faiss.Kmeans(points.shape[1], k, niter=iterations, seed=seed, max_points_per_centroid=10**8,
                          min_points_per_centroid=1)
    begin = time.perf_counter()
    kmeans.train(points)
    seconds = time.perf_counter() - begin
    return seconds, float(kmeans.assign(points)[0].sum(dtype="f8"))


for n, d, k, iterations in ROWS:
    centres = random.standard_normal((min(4 * k, n), d), dtype="f")
    points = centres[np.arange(n) % len(centres)] + 0.7 * random.standard_normal((n, d), dtype="f")
    name = f"kmeans/lloyd/n{n}/d{d}/k{k}/i{iterations}"
    if not re.search(arguments.pattern, name):
        continue
    with tempfile.NamedTemporaryFile(suffix=".f32") as file:
        points.astype("<f4").tofile(file.name)
        turns = [(ours(name, file.name, seed), theirs(points, k, iterations, seed))
                 for seed in range(1, arguments.seeds + 1)]
    result = {"name": name, "seeds": arguments.seeds}
    for who, runs in zip(("ours", "faiss"), zip(*turns)):
        seconds, inertia = zip(*runs)
        result[who] = {"seconds": round(statistics.median(seconds), 4), "inertia": statistics.fmean(inertia),
                       "best_inertia": min(inertia)}
    result["inertia_ratio"] = round(result["ours"]["inertia"] / result["faiss"]["inertia"], 5)
    print(json.dumps(result), flush=True)
