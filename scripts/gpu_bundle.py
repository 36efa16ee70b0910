"""Packs what scripts/gpu_check.sh needs into OUT/gpu-bundle.tar.xz: `make gpu-bundle`.

usage: gpu_bundle.py --built TARGET/release --messages FILE --out DIR

FILE has cargo's messages about the tests that it built, whose names have a digest. Symbols are stripped, and candle's compiled kernels for
quantised models, which nothing here runs, are replaced by zeros: they would make up most of each binary. Needs binutils.
"""
import argparse, json, lzma, os, pathlib, shutil, subprocess, sys, tarfile, tempfile

LIMIT = 60e6
TESTS = {"gpu", "parity", "properties", "pixels", "strided", "models_parity"}
EXAMPLES = {"bench_models", "bench_search"}
SCRIPTS = ["gpu_check.sh", "gpu_quickstart.py", "gpu_peers.py", "gpu_rows.py", "gpu_profile.py", "gpu_epoch.py"]

parser = argparse.ArgumentParser()
parser.add_argument("--built", required=True, type=pathlib.Path, help="folder of what cargo built")
parser.add_argument("--messages", required=True, type=pathlib.Path, help="cargo's messages in JSON, an object a line")
parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the archive")
arguments = parser.parse_args()
root = pathlib.Path(__file__).resolve().parent.parent
built = arguments.built
bundle = arguments.out / "gpu-bundle"
shutil.rmtree(bundle, ignore_errors=True)


def section_size(binary, name):
    listing = subprocess.run(["readelf", "--sections", "--wide", binary], check=True, capture_output=True, text=True).stdout
    for line in listing.splitlines():
        fields = line.replace("[ ", "[").split()
        if len(fields) > 5 and fields[1] == name:
            return int(fields[5], 16)
    return 0


def pack(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["objcopy", "--strip-all"]
    size = section_size(source, ".nv_fatbin")
    with tempfile.NamedTemporaryFile() as zeros:
        if size:
            zeros.write(bytes(size))
            zeros.flush()
            command += ["--update-section", f".nv_fatbin={zeros.name}"]
        subprocess.run([*command, source, target], check=True)
    target.chmod(0o755)


pack(built / "dnc-run", bundle / "dnc-run")
for example in EXAMPLES:
    pack(built / "examples" / example, bundle / "examples" / example)
found = set()
for line in arguments.messages.read_text().splitlines():
    message = json.loads(line) if line.startswith("{") else {}
    target, path = message.get("target", {}), message.get("executable")
    if path is not None and target["kind"] == ["test"] and target["name"] in TESTS:
        pack(path, bundle / "tests" / target["name"])
        found.add(target["name"])
missing = TESTS - found
if missing:
    sys.exit(f"cargo has not built {', '.join(sorted(missing))}")
for crate in ("stages/kernels", "stages/learn"):
    fixtures = root / crate / "tests/fixtures"
    shutil.copytree(fixtures, bundle / crate / "tests/fixtures", ignore=shutil.ignore_patterns("*.py", "*.pth"))
(bundle / "pipelines/data").mkdir(parents=True)
shutil.copy(root / "pipelines/quickstart.toml", bundle / "pipelines")
shutil.copy(root / "pipelines/data/open-emoji-mini.parquet", bundle / "pipelines/data")
for script in SCRIPTS:
    shutil.copy(root / "scripts" / script, bundle)

archive = arguments.out / "gpu-bundle.tar.xz"
# The binaries have most of their code in common: a large dictionary finds it.
filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 192 << 20}]
with lzma.open(archive, "wb", filters=filters) as compressed, tarfile.open(fileobj=compressed, mode="w") as tar:
    tar.add(bundle, arcname="gpu-bundle")
size = os.path.getsize(archive)
print(f"{archive}: {size / 1e6:.1f} MB")
if size > LIMIT:
    sys.exit(f"The bundle is larger than {LIMIT / 1e6:.0f} MB")
