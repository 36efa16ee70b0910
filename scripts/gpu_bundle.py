"""Packs what scripts/gpu_check.sh needs into CUDA_BUILT/gpu-bundle.tar.xz: `make gpu-bundle`.

Reads bundle.json, cargo's messages about the tests and benchmarks that it built. Symbols are stripped, and candle's compiled kernels for
quantised models, which nothing here runs, are replaced by zeros: they would make up most of each binary. Needs binutils.
"""
import json, lzma, os, pathlib, shutil, subprocess, sys, tarfile, tempfile

LIMIT = 60e6
TESTS = {"gpu", "parity", "properties", "strided", "models_parity"}
EXAMPLES = {"bench_models"}

root = pathlib.Path(__file__).resolve().parent.parent
built = pathlib.Path(sys.argv[1])
bundle = built / "gpu-bundle"
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
found = set()
for line in (built / "bundle.json").read_text().splitlines():
    message = json.loads(line) if line.startswith("{") else {}
    target, path = message.get("target", {}), message.get("executable")
    if path is None:
        continue
    folder = {"test": "tests", "example": "examples"}.get(target["kind"][0])
    if (folder == "tests" and target["name"] in TESTS) or (folder == "examples" and target["name"] in EXAMPLES):
        pack(path, bundle / folder / target["name"])
        found.add(target["name"])
missing = (TESTS | EXAMPLES) - found
if missing:
    sys.exit(f"cargo has not built {', '.join(sorted(missing))}")
for crate in ("stages/kernels", "stages/learn"):
    fixtures = root / crate / "tests/fixtures"
    shutil.copytree(fixtures, bundle / crate / "tests/fixtures", ignore=shutil.ignore_patterns("*.py", "*.pth"))
(bundle / "pipelines/data").mkdir(parents=True)
shutil.copy(root / "pipelines/quickstart.toml", bundle / "pipelines")
shutil.copy(root / "pipelines/data/open-emoji-mini.parquet", bundle / "pipelines/data")
shutil.copy(root / "scripts/gpu_check.sh", bundle)

archive = built / "gpu-bundle.tar.xz"
# The binaries have most of their code in common: a large dictionary finds it.
filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 192 << 20}]
with lzma.open(archive, "wb", filters=filters) as compressed, tarfile.open(fileobj=compressed, mode="w") as tar:
    tar.add(bundle, arcname="gpu-bundle")
size = os.path.getsize(archive)
print(f"{archive}: {size / 1e6:.1f} MB")
if size > LIMIT:
    sys.exit(f"The bundle is larger than {LIMIT / 1e6:.0f} MB")
