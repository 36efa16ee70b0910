"""Approximate search beside faiss's: the same points, lists, probes and threads, in turns.

usage: index_faiss.py [PATTERN] --binaries TARGET/release/examples [--reps 5] [--threads 2]

Both divide the points by k-means of ten iterations and search the ten nearest points of 6,000 queries at once, and of 100 queries one by
one. Recall is measured against exact search. Prints one JSON object a row: medians, and the median of the ratios of single turns.
Needs numpy and faiss; the product never runs this.
"""
import argparse, json, os, re, statistics, subprocess, tempfile, time

import faiss
import numpy as np

ROWS = [(500_000, 128, 2_828, 16), (200_000, 512, 1_788, 16)]
PARTS = ["build", "q6000", "q1"]

parser = argparse.ArgumentParser()
parser.add_argument("pattern", nargs="?", default=".")
parser.add_argument("--binaries", required=True, help="folder of our benchmarks")
parser.add_argument("--reps", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
arguments = parser.parse_args()
faiss.omp_set_num_threads(arguments.threads)
random = np.random.default_rng(0)


def ours(name, file):
    command = [os.path.join(arguments.binaries, "bench_search"), f"^{name}/", "--points", file,
               "--threads", str(arguments.threads), "--reps", "1"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = {row["name"].rsplit("/", 1)[1]: row for row in map(json.loads, lines)}
    return {part: rows[part]["seconds"] for part in PARTS} | {"recall": rows["q6000"]["recall"]}


def timed(work):
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def theirs(points, queries, exact, lists, probes):
    def build():
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(points.shape[1]), points.shape[1], lists)
        index.cp.niter = 10
        index.train(points)
        index.add(points)
        index.nprobe = probes
        return index
    seconds, index = timed(build)
    batch, (_, found) = timed(lambda: index.search(queries, 10))
    single, _ = timed(lambda: [index.search(query[None], 10) for query in queries[:100]])
    recall = np.mean([len(np.intersect1d(one, other)) / 10 for one, other in zip(exact, found)])
    return {"build": seconds, "q6000": batch, "q1": single / 100, "recall": float(recall)}


for n, d, lists, probes in ROWS:
    name = f"index/n{n}/d{d}/l{lists}/p{probes}"
    if not re.search(arguments.pattern, name):
        continue
    centres = random.standard_normal((n // 50, d), dtype="f")
    points = centres[np.arange(n) % len(centres)] + 0.7 * random.standard_normal((n, d), dtype="f")
    queries = (points[:6000] + points[n // 50:][:6000]) / 2
    flat = faiss.IndexFlatL2(d)
    flat.add(points)
    exact = flat.search(queries, 10)[1]
    with tempfile.NamedTemporaryFile(suffix=".f32") as file:
        points.astype("<f4").tofile(file.name)
        turns = [(ours(name, file.name), theirs(points, queries, exact, lists, probes)) for _ in range(arguments.reps)]
    for part in PARTS + ["recall"]:
        mine, peer = ([turn[part] for turn in side] for side in zip(*turns))
        ratios = [a / b for a, b in zip(mine, peer)]
        print(json.dumps({"name": f"{name}/{part}", "ours": round(statistics.median(mine), 5),
                          "faiss": round(statistics.median(peer), 5), "ratio": round(statistics.median(ratios), 3)}), flush=True)
