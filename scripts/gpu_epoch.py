"""How much longer epochs of a training take than their steps alone: 20,000 generated pictures of 256 × 256 with ResNet-50 at 224, batches of
80, bf16. `gpu_check.sh` calls it; needs numpy and Pillow.

usage: gpu_epoch.py --dnc PROGRAM --work FOLDER --step-ms MILLISECONDS [--device cuda:0] [--images 20000] [--epochs 3]

The last line is an object of JSON: seconds of an epoch by the speed that the node `train` reports, those of its steps alone, and the ratio.
"""
import argparse, glob, io, json, multiprocessing, os, pathlib, subprocess, sys, time

CLASSES, SIDE, BATCH = 500, 256, 80
MANIFEST = """
name = "epoch"
[stage.decode]
dataset = "folder"
root = "pictures"
split = {{ train = 0.98 }}
[stage.init]
backbone = "resnet50"
dimension = 128
crop = 224
resize = 256
[stage.train]
in = {{ images = "decode", model = "init" }}
epochs = {epochs}
precision = "bf16"
sampler = {{ kind = "class_balanced", batch = 80, per_class = 4 }}
optimiser = {{ lr = 1e-5, weight_decay = 0.0 }}
"""


def draw(job):
    folder, label, count = job
    import numpy
    from PIL import Image

    random = numpy.random.default_rng(label)
    os.makedirs(folder, exist_ok=True)
    base = random.integers(0, 256, (8, 8, 3))
    for index in range(count):
        small = numpy.clip(base + random.integers(-60, 60, (8, 8, 3)), 0, 255).astype(numpy.uint8)
        picture = Image.fromarray(small).resize((SIDE, SIDE), Image.BICUBIC)
        noise = random.integers(-12, 12, (SIDE, SIDE, 3))
        pixels = numpy.clip(numpy.asarray(picture).astype(numpy.int16) + noise, 0, 255).astype(numpy.uint8)
        Image.fromarray(pixels).save(os.path.join(folder, f"{index}.jpg"), quality=85)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dnc", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--step-ms", type=float, required=True)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    work = pathlib.Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    jobs = [(str(work / "pictures" / f"class{label:03}"), label, options.images // CLASSES) for label in range(CLASSES)]
    with multiprocessing.Pool() as pool:
        pool.map(draw, jobs, chunksize=4)
    print(f"{options.images} pictures in {time.monotonic() - began:.0f} s", flush=True)
    (work / "epoch.toml").write_text(MANIFEST.format(epochs=options.epochs))
    command = [os.path.abspath(options.dnc), "epoch.toml", "--device", options.device, "--progress", "plain"]
    done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout[-2000:])
    if done.returncode != 0:
        sys.exit(done.returncode)
    run = json.load(open(max(glob.glob(str(work / "runs/*/*/run.json")), key=os.path.getmtime)))
    train = next(node for node in run["nodes"] if node["node"].startswith("train"))
    print(json.dumps(train))
    speed = train["measured"]["images per second"]
    steps = int(options.images * 0.98) // BATCH
    epoch, alone = steps * BATCH / speed, steps * options.step_ms / 1e3
    print(json.dumps({"epoch_seconds": epoch, "steps_alone_seconds": alone, "ratio": epoch / alone, "images_per_second": speed,
                      "node_seconds": train.get("seconds")}))


if __name__ == "__main__":
    main()
