"""Gives mutated files to the program: manifests, records, weights, images, lists, Parquet, MATLAB and IDX files.

Whatever the file is, the program ends with an exit code of its own (0, 1 or 2) within the time and the memory that it is given, without
a panic. Files are mutated from those in the repository: flipped bits, changed numbers, cut, doubled, exchanged and inserted parts. Of a
violation the file is kept.
"""
import os, random, resource, shutil, struct, subprocess

from common import Campaign

# Seconds and bytes of address space for one call.
SECONDS, MEMORY = 30, 8 << 30
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PICTURES = os.path.join(ROOT, "stages/tables/tests/fixtures/pictures")
LEARN = os.path.join(ROOT, "stages/learn/tests/fixtures")
# Mutated pictures that one call decodes.
BATCH = 60

campaign = Campaign("fuzz", __doc__, 2000)


def read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def mutated(data, other, chance, same_length=False):
    """A mutation of the bytes; `other` is a file of the same kind to take parts from."""
    data, length_before = bytearray(data), len(data)
    for _ in range(1 + int(chance.expovariate(0.7))):
        size = max(1, len(data))
        at, length = chance.randrange(size), min(size, 1 + int(chance.expovariate(0.05)))
        match chance.randrange(4 if same_length else 8):
            case 2:
                data[at:at + 1] = bytes([chance.choice([0, 1, 0x7F, 0x80, 0xFF, ord("\n"), ord('"'), ord("-")])])
            case 3:
                form = chance.choice("<>") + chance.choice("HIQ")
                width = struct.calcsize(form)
                number = chance.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, chance.randrange(2**64)])
                data[at:at + width] = struct.pack(form, number % 2**(8 * width))
                del data[length_before if same_length else len(data):]
            case 4:
                del data[at:at + length]
            case 5:
                data[at:at] = data[at:at + length]
            case 6:
                start = chance.randrange(max(1, len(other)))
                data[at:at + length] = other[start:start + length]
            case 7 if chance.random() < 0.3:
                data = data[:at]
            case _:
                data[at:at + 1] = bytes([(data[at] if at < len(data) else 0) ^ (1 << chance.randrange(8))])
    return bytes(data)


def decode(dataset, root="data", more=""):
    return f'name = "fuzz"\n[stage.decode]\ndataset = {dataset}\nroot = "{root}"\non_error = "skip"\n{more}'.encode()


# Each target writes mutated files into a folder and returns the words of the call.
def manifest(folder, chance):
    texts = [read(ROOT, "pipelines", name) for name in sorted(os.listdir(os.path.join(ROOT, "pipelines"))) if name.endswith(".toml")]
    write(f"{folder}/m.toml", mutated(chance.choice(texts), chance.choice(texts), chance))
    return ["plan", "m.toml"]


def image(folder, chance):
    pictures = sorted(os.listdir(PICTURES))
    for number in range(BATCH):
        name = chance.choice(pictures)
        data = mutated(read(PICTURES, name), read(PICTURES, chance.choice(pictures)), chance)
        write(f"{folder}/data/{'ab'[number % 2]}/{number}-{name}", data)
    write(f"{folder}/m.toml", decode('"folder"', more="limits = { pixels = 4000000 }\nsplit = { train = 0.5 }\n"))
    return ["m.toml"]


def weights(folder, chance):
    name = chance.choice(["models_tiny.pth", "models_tiny_legacy.pth", "models_tiny.safetensors"])
    write(f"{folder}/{name}", mutated(read(LEARN, name), read(LEARN, name), chance))
    return ["import-weights", name, "out.safetensors"]


def listing(folder, chance):
    rows = "image,class,split,camera\na.png,one,train,1\n\"b,b.png\",two,test,2\nc.png,\"tw\"\"o\",test,\n"
    form, delimiter = chance.choice([("csv", ","), ("tsv", "\t")])
    text = rows.replace(",", delimiter).encode()
    write(f"{folder}/data/list.{form}", mutated(text, text, chance))
    for name in ("a.png", "b,b.png", "c.png"):
        write(f"{folder}/data/{name}", read(PICTURES, "palette.png"))
    write(f"{folder}/m.toml", decode(f'{{ kind = "list", file = "list.{form}" }}'))
    return ["m.toml"]


def parquet(folder, chance):
    data = read(ROOT, "pipelines/data/open-emoji-mini.parquet")
    # The footer says where all else lies; it is found last.
    footer = data[-20_000:]
    where = chance.random()
    data = data[:-20_000] + mutated(footer, footer, chance, same_length=True) if where < 0.9 else mutated(data, footer, chance)
    write(f"{folder}/data/p.parquet", data)
    write(f"{folder}/m.toml", decode('"parquet"', "data/p.parquet", "per_class = 1\n"))
    return ["m.toml"]


def mat(folder, chance):
    texts = [read(ROOT, "stages/tests/fixtures", name) for name in ("cars_annos_packed.mat", "cars_annos_plain.mat")]
    write(f"{folder}/data/cars_annos.mat", mutated(chance.choice(texts), texts[1], chance))
    os.makedirs(f"{folder}/data/car_ims", exist_ok=True)
    write(f"{folder}/m.toml", decode('"cars"'))
    return ["m.toml"]


def idx(folder, chance):
    def images(count):
        return struct.pack(">BBBBIII", 0, 0, 8, 3, count, 2, 2) + bytes(range(4 * count))

    def labels(count):
        return struct.pack(">BBBBI", 0, 0, 8, 1, count) + bytes(count)

    files = {"train-images-idx3-ubyte": images(3), "train-labels-idx1-ubyte": labels(3), "t10k-images-idx3-ubyte": images(2),
             "t10k-labels-idx1-ubyte": labels(2)}
    chosen = chance.choice(sorted(files))
    for name, data in files.items():
        write(f"{folder}/data/{name}", mutated(data, images(3), chance) if name == chosen else data)
    write(f"{folder}/m.toml", decode('"idx"'))
    return ["m.toml"]


def records(folder, chance):
    shutil.copytree(whole.store, f"{folder}/.dnc/store")
    pack = f"{folder}/.dnc/store/records/pack"
    write(pack, mutated(read(pack), read(pack), chance))
    return chance.choice([["cache", "verify"], ["cache", "ls"], ["cache", "gc", "--keep", "0"]])


TARGETS = [manifest, image, weights, listing, parquet, mat, idx, records]
whole = campaign.project("whole")
write(f"{whole.folder}/init.toml", b'name = "init"\n[stage.init]\nbackbone = "small"\ndimension = 4\n')
campaign.prepare(whole.call("init.toml"))


def limited():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


for number in range(campaign.options.cases):
    target = TARGETS[number % len(TARGETS)]
    # A case is repeated alone by its number and the seed.
    chance = random.Random(f"{campaign.options.seed} {number}")
    folder = os.path.join(campaign.folder, f"case-{number}")
    os.makedirs(os.path.join(folder, ".dnc"), exist_ok=True)
    words = target(folder, chance)
    process = subprocess.Popen([whole.dnc, *words], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, preexec_fn=limited)
    try:
        said = process.communicate(timeout=SECONDS)[0].decode(errors="replace")
        problem = None
        if process.returncode not in (0, 1, 2):
            problem = f"exit code {process.returncode}: {said[-600:]}"
        elif "panicked" in said or "this is a bug" in said:
            problem = said[-600:]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        problem = f"it takes longer than {SECONDS} s"
    # How many are read and how many refused: if all were refused, nothing behind the first check would have been tried.
    campaign.count(f"{target.__name__} {'refused' if process.returncode else 'read'}")
    campaign.case(f"`dnc-run {' '.join(words)}` in {folder}", problem)
    if not problem:
        shutil.rmtree(folder)
campaign.end()
