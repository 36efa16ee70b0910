"""What `dnc-run export` writes, tried in PyTorch: each backbone's README is followed to the letter, and the embeddings that PyTorch then
computes are compared with those of `dnc-run`'s own `embed` node on the same pictures. Then each export's own `check.py` is run, of the ONNX
export too where onnxruntime is installed.

usage: check_export.py TARGET/release/dnc-run [BACKBONE ...]        (each with the poolings and crops that it has below)

Needs numpy, Pillow, pyarrow, torch and safetensors, and each network's published code: torchvision, efficientnet_lite_pytorch, timm,
pretrainedmodels. Pictures have the size that the network scales to, so that no two libraries' ways of scaling are compared. The weights
are drawn at random, for DINOv2 by timm. The product never runs this.
"""
import importlib.util, json, os, re, subprocess, sys, tempfile

import numpy as np
import pyarrow.ipc
import torch
from PIL import Image

BACKBONES = ["plain", "small", "resnet18", "resnet34", "resnet50", "efficientnet_lite0", "bn_inception", "vit_small_patch16", "vit_small_patch14_dinov2"]
# Beside the pooling that each was published with.
POOLINGS = {"plain": ["max"], "resnet18": ["max"], "efficientnet_lite0": ["max"], "bn_inception": ["max"], "vit_small_patch16": ["average", "max"]}
# Sides of images whose positions are not those that the network stores.
CROPS = {"vit_small_patch16": [160]}
# Of unit vectors.
TOLERANCE = 1e-3

MANIFEST = """
name = "export"
seed = 0

[stage.decode]
dataset = "folder"
root = "images"
split = { train = 0.5 }

[stage.init]
in = { images = "decode" }
backbone = "BACKBONE"
dimension = 24
SETTINGS

[stage.embed]
in = { images = "decode", model = "init" }
"""


def pictures(folder, side=256, count=6):
    """Smooth noise, half of it in each of two classes."""
    random = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype="u1"))
        path = os.path.join(folder, "images", "ab"[number % 2], f"{number}.png")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        small.resize((side, side), Image.BICUBIC).save(path)


def louder_weights(folder):
    """Weights of DINOv2's network whose blocks matter: as drawn, its layer scale leaves so little of an image in the class token that
    the embedding, which is centred, would be rounding."""
    import timm
    from safetensors.torch import save_file
    torch.manual_seed(0)
    model = timm.create_model("vit_small_patch14_dinov2", num_classes=0, init_values=1.0)
    save_file(model.state_dict(), os.path.join(folder, "weights.safetensors"))


def embeddings(folder):
    """What the node `embed` left in the store, by the picture's number."""
    with open(os.path.join(folder, "runs/export/1/run.json")) as file:
        run = json.load(file)
    with open(os.path.join(folder, ".dnc/store/records/pack")) as file:
        lines = [json.loads(line) for line in file if line.startswith("{")]
    records = {line["key"]: line for line in lines if "outputs" in line}
    rows = {}
    for node, columns in [("decode", ["id", "source"]), ("embed", ["id", "vector"])]:
        key = next(found["key"] for found in run["nodes"] if found["node"] == node)
        for artifact in records[key]["outputs"].values():
            for blob in artifact["files"]:
                path = os.path.join(folder, ".dnc/store/blobs", blob["digest"][:2], blob["digest"])
                with open(path, "rb") as file:
                    if file.read(6) != b"ARROW1":
                        continue
                found = pyarrow.ipc.open_file(path).read_all()
                if set(columns) <= set(found.column_names):
                    for row in found.select(columns).to_pylist():
                        rows.setdefault(row["id"], {}).update(row)
    return {row["source"]: row["vector"] for row in rows.values()}


def check(backbone, dnc, settings=""):
    with tempfile.TemporaryDirectory() as folder:
        def run(*arguments):
            subprocess.run([dnc, *arguments], cwd=folder, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        with open(os.path.join(folder, "export.toml"), "w") as file:
            file.write(MANIFEST.replace("BACKBONE", backbone).replace("SETTINGS", settings))
        pictures(folder)
        if "weights" in settings:
            louder_weights(folder)
        run("export.toml")
        run("export", "export", "exported")
        ours = embeddings(folder)

        exported = os.path.join(folder, "exported")
        with open(os.path.join(exported, "model.json")) as file:
            card = json.load(file)
        with open(os.path.join(exported, "README.md")) as file:
            code = re.search(r"```python\n(.*?)```", file.read(), re.S).group(1)
        images = []
        for source in ours:
            pixels = np.asarray(Image.open(os.path.join(folder, "images", source)).convert("RGB"), dtype="f4")
            assert min(pixels.shape[:2]) == card["resize"], f"`{backbone}` scales to {card['resize']}"
            top = (card["resize"] - card["crop"]) // 2
            pixels = pixels[top:top + card["crop"], top:top + card["crop"]]
            pixels = pixels[..., ::-1] if card["channels"] == "bgr" else pixels
            images.append((pixels - np.array(card["mean"], "f4")) / np.array(card["std"], "f4"))
        images = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())
        names = {"images": images}
        os.chdir(exported)
        # The README of our own networks imports the export's `model.py`.
        sys.path.insert(0, exported)
        sys.modules.pop("model", None)
        with torch.no_grad():
            exec(code, names)
        os.chdir("/")
        sys.path.remove(exported)
        difference = np.abs(names["embeddings"].numpy() - np.array(list(ours.values()), "f4")).max()
        print(f"{backbone:25} {settings.partition(chr(10))[0]:20} {len(images)} images, largest difference {difference:.2e}", flush=True)
        results = [difference <= TOLERANCE]
        formats = ["safetensors"] + ["onnx"] * (importlib.util.find_spec("onnxruntime") is not None)
        for format in formats:
            run("export", "export", format, "--format", format, "--node", "init")
            checked = subprocess.run([sys.executable, "check.py"], cwd=os.path.join(folder, format), capture_output=True, text=True)
            print("    " + format.ljust(12) + "; ".join((checked.stdout + checked.stderr).strip().splitlines()), flush=True)
            results.append(checked.returncode == 0)
        return all(results)


def main():
    dnc = os.path.abspath(sys.argv[1])
    results = []
    for backbone in sys.argv[2:] or BACKBONES:
        settings = [f'pooling = "{pooling}"' for pooling in POOLINGS.get(backbone, [])]
        settings += [f"crop = {crop}\nresize = 256" for crop in CROPS.get(backbone, [])]
        own = 'weights = "weights.safetensors"' if "dinov2" in backbone else ""
        results += [check(backbone, dnc, setting) for setting in [own, *settings]]
    sys.exit(0 if all(results) else 1)


main()
