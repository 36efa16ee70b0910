"""How far the program goes, and what it needs there: many images and classes, one huge class, wide embeddings, thousands of nodes, long
names, huge pictures. Prints a table in Markdown: what was tried, what happened, seconds, peak memory.

usage: limits.py --dnc PROGRAM --work FOLDER [--only ROW,…] [--scale 1.0]

Needs numpy, Pillow and pyarrow. `--scale 0.01` makes everything smaller, to try the script. The folder is emptied first.
"""
import argparse, io, os, pathlib, shutil, subprocess, sys, time

ROWS = {}


def row(what):
    def add(function):
        ROWS[function.__name__.replace("_", "-")] = (what, function)
        return function
    return add


def peak(process):
    """Peak memory of a process in bytes; 0 if it has ended."""
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text()
        return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


class Place:
    """A folder, and what calls in it needed."""

    def __init__(self, dnc, folder, scale):
        self.dnc, self.folder, self.scale = dnc, folder, scale
        self.seconds, self.memory, self.said = 0.0, 0, ""

    def count(self, full):
        return max(8, int(full * self.scale))

    def manifest(self, text, name="m.toml"):
        (self.folder / name).write_text(text)

    def call(self, *words):
        """The exit code of `dnc-run` with these words."""
        began = time.monotonic()
        with open(self.folder / "said", "wb") as said:
            process = subprocess.Popen([self.dnc, *words], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            # The peak that wait4 gives contains the memory of this script, from which the process was forked.
            while process.poll() is None:
                self.memory = max(self.memory, peak(process.pid))
                time.sleep(0.02)
        self.seconds += time.monotonic() - began
        self.said = (self.folder / "said").read_text(errors="replace")
        return process.returncode

    def pictures(self, rows, side=16):
        """Writes `p.parquet` with a picture for each row (class, split), by random colours and a few pixels."""
        import numpy, pyarrow, pyarrow.parquet
        from PIL import Image

        chance = numpy.random.default_rng(0)
        schema = pyarrow.schema([("image", pyarrow.binary()), ("class", pyarrow.string()), ("split", pyarrow.string())])
        with pyarrow.parquet.ParquetWriter(self.folder / "p.parquet", schema, compression="none") as writer:
            batch = []
            def flush():
                columns = [list(column) for column in zip(*batch)]
                writer.write_table(pyarrow.table(columns, schema=schema))
                batch.clear()
            for label, split in rows:
                pixels = chance.integers(0, 256, (2, 2, 3)).astype(numpy.uint8).repeat(side // 2, 0).repeat(side // 2, 1)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "BMP")
                batch.append((file.getvalue(), label, split))
                if len(batch) == 20_000:
                    flush()
            if batch:
                flush()


DECODE = 'name = "limits"\n[stage.decode]\ndataset = "parquet"\nroot = "p.parquet"\n'
INIT = '[stage.init]\nin = { images = "decode" }\nbackbone = "small"\ndimension = %d\ncrop = 16\nresize = 16\n'
EMBED = '[stage.embed]\nin = { images = "decode", model = "init" }\n'
TRAIN = '[stage.train]\nin = { images = "decode", model = "init" }\nepochs = 1\noptimiser = { lr = 1e-3 }\n%s'
EVALUATE = '[stage.evaluate]\nin = { images = "decode", model = "%s" }\nrecall = [1, 10]\n'


@row("1,000,000 images of 10,000 classes: decode, embed all, evaluate 50,000")
def images(place):
    count, classes = place.count(1_000_000), place.count(10_000)
    place.pictures((f"c{index % classes}", "test" if index % 20 == 0 else "train") for index in range(count))
    place.manifest(DECODE + INIT % 64 + EMBED + EVALUATE % "init")
    return place.call("m.toml", "-q")


@row("50,000 classes of 4 images: decode, train an epoch with a boundary per class, evaluate 10,000 classes")
def classes(place):
    count = place.count(50_000)
    place.pictures((f"class number {index}", "test" if index % 5 == 0 else "train") for index in range(count) for _ in range(4))
    loss = 'loss = { kind = "margin", learn_beta = "per_class" }\n'
    place.manifest(DECODE + INIT % 64 + TRAIN % loss + EVALUATE % "train")
    return place.call("m.toml", "-q")


@row("one class of 100,000 images among 1,000 of two: train an epoch, evaluate all of them")
def one_class(place):
    large, small = place.count(100_000), place.count(1_000)
    test = [("large", "test")] * large + [(f"small {index}", "test") for index in range(small) for _ in range(2)]
    train = [("large one", "train")] * large + [(f"small one {index}", "train") for index in range(small) for _ in range(2)]
    place.pictures(test + train)
    place.manifest(DECODE + INIT % 64 + TRAIN % "" + EVALUATE % "train")
    return place.call("m.toml", "-q")


@row("embeddings of 4,096 dimensions: train an epoch on 4,000 images, evaluate 4,000 with their shape")
def dimensions(place):
    count = place.count(2_000)
    place.pictures((f"c{index}", "test" if index % 2 else "train") for index in range(count) for _ in range(4))
    place.manifest(DECODE + INIT % 4096 + TRAIN % "" + EVALUATE % "train" + "shape = true\n")
    return place.call("m.toml", "-q")


@row("20,000 nodes: a manifest of as many commands, planned, run, run again")
def nodes(place):
    count = place.count(20_000)
    stages = "".join(f'[stage.n{index}]\nkind = "command"\nrun = "echo {index} > {{out.number}}/number"\noutputs = {{ number = "files" }}\n' for index in range(count))
    place.manifest('name = "limits"\n' + stages)
    return place.call("plan", "m.toml", "--json") or place.call("m.toml", "-q") or place.call("m.toml", "-q")


@row("names: classes of 4,000 bytes; a stage of 4,000 is refused")
def names(place):
    place.pictures((f"{index:04000}", None) for index in range(64) for _ in range(4))
    place.manifest(DECODE + "split = { train = 0.5 }\n" + INIT % 16 + EVALUATE % "init")
    stage = "s" * 4_000
    place.manifest(f'name = "limits"\n[stage.{stage}]\nkind = "init"\nbackbone = "small"\ndimension = 4\n', "stage.toml")
    return place.call("m.toml", "-q") or (0 if place.call("stage.toml", "-q") == 2 else 1)


@row("a picture of 200 megapixels: refused as it is, decoded with `limits` raised")
def megapixels(place):
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    for label in "ab":
        (place.folder / "photos" / label).mkdir(parents=True)
        Image.new("RGB", (20_000, place.count(10_000)), "teal").save(place.folder / "photos" / label / "large.jpg")
    text = 'name = "limits"\n[stage.decode]\ndataset = "folder"\nroot = "photos"\nsplit = { train = 0.5 }\nresize = { shorter = 256 }\n'
    place.manifest(text)
    refused = place.call("m.toml", "-q")
    place.manifest(text + "limits = { pixels = 250_000_000 }\n", "large.toml")
    return place.call("large.toml", "-q") or (0 if refused == 1 or place.scale < 0.1 else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dnc", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    print("| What | Ends | Seconds | Peak memory |\n|---|---|---|---|", flush=True)
    failed = 0
    for name in options.only.split(","):
        what, function = ROWS[name]
        folder = pathlib.Path(options.work) / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        place = Place(os.path.abspath(options.dnc), folder, options.scale)
        code = function(place)
        failed += bool(code)
        print(f"| {what} | {'as expected' if not code else f'exit code {code}'} | {place.seconds:.0f} | {place.memory / 2**20:,.0f} MiB |", flush=True)
        if code:
            print(place.said[-2000:], file=sys.stderr)
        else:
            shutil.rmtree(folder)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
