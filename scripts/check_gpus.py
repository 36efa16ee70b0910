"""Several GPUs of one machine: whatever `--gpus` and `--jobs` say, a run must use the GPUs that it was given and write the same bytes.

usage: check_gpus.py BINARY [--gpus 0,1]

Runs a tiny manifest with two, then four learners on one GPU, then on all of them, and compares the digests of every output. `make check-cuda-emulated`
calls it with emulated GPUs; on a machine with several GPUs it checks these.
"""
import argparse, glob, json, os, random, struct, subprocess, sys, tempfile

SIDE, CLASSES, IMAGES = 16, 32, 4
MANIFEST = """
name = "gpus"
[rounds]
learners = [2, 4]
[stage.decode]
dataset = "folder"
root = "pictures"
split = { train = 0.5 }
[stage.init]
in = { images = "decode" }
backbone = "small"
dimension = 16
crop = 16
resize = 16
[stage.embed]
per = "round"
in = { images = "decode", model = "merge@previous or init" }
splits = ["train"]
[stage.cluster]
per = "round"
in = { embeddings = "embed", previous = "cluster@previous" }
[stage.train]
per = "learner"
in = { images = "decode", clusters = "cluster", model = "merge@previous or init" }
epochs = 1
sampler = { kind = "class_balanced", batch = 4, per_class = 2 }
[stage.merge]
per = "round"
in = { learners = "train", model = "merge@previous or init" }
[stage.evaluate]
per = "round"
in = { images = "decode", model = "merge" }
"""


def picture(path, chance, colour):
    """A bitmap of 24 bits: noise around a colour."""
    pixels = b"".join(bytes(max(0, min(255, value + chance.randrange(-40, 40))) for value in colour) for _ in range(SIDE * SIDE))
    head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + len(pixels), 0, 0, 54, 40, SIDE, SIDE, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(head + pixels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--gpus", default="0,1")
    options = parser.parse_args()
    gpus = options.gpus.split(",")
    binary = os.path.abspath(options.binary)
    with tempfile.TemporaryDirectory() as folder:
        chance = random.Random(0)
        for number in range(CLASSES):
            os.makedirs(f"{folder}/pictures/{number}")
            colour = [chance.randrange(256) for _ in range(3)]
            for image in range(IMAGES):
                picture(f"{folder}/pictures/{number}/{image}.bmp", chance, colour)
        with open(f"{folder}/gpus.toml", "w") as file:
            file.write(MANIFEST)

        def run(name, given, *more):
            command = [binary, "gpus.toml", "--device", f"cuda:{gpus[0]}", "--gpus", given, "--store", f"{name}-store", "--runs", f"{name}-runs"]
            done = subprocess.run([*command, *more], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                sys.exit(f"the run on GPU {given} failed:\n{done.stdout}")
            with open(glob.glob(f"{folder}/{name}-runs/*/*/run.json")[0]) as file:
                nodes = json.load(file)["nodes"]
            return {node["node"]: node["outputs"] for node in nodes}, {str(node["gpu"]) for node in nodes if node.get("gpu") is not None}

        one, used = run("one", gpus[0], "--jobs", "1")
        if used != {gpus[0]}:
            sys.exit(f"a run with --gpus {gpus[0]} used {sorted(used)}")
        all_of_them, used = run("all", options.gpus, "--jobs", "8")
        if used != set(gpus):
            sys.exit(f"a run with --gpus {options.gpus} used {sorted(used)}")
        different = sorted(node for node in one if one[node] != all_of_them[node])
        if different:
            sys.exit(f"the outputs differ between one GPU and several: {', '.join(different)}")
    print(f"{len(one)} nodes on GPUs {options.gpus}: the same digests as on GPU {gpus[0]} alone")


if __name__ == "__main__":
    main()
