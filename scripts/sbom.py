"""Writes what a binary of dnc-run consists of: OUT/dnc-run.cdx.json, a bill of materials in CycloneDX 1.5, and OUT/THIRD-PARTY.txt with the
licences of every part. Called by dist.py.

usage: sbom.py --binary FILE --out DIR

The crates are those that cargo links for the default features on this platform; their checksums are those of Cargo.lock. A statically
linked binary contains glibc as well, whose version and licence are those of this machine.
"""
import argparse, datetime, hashlib, json, os, pathlib, re, subprocess, uuid

LICENCE_FILES = re.compile(r"(licen[sc]e|copying|notice|unlicense|copyright)", re.IGNORECASE)
GLIBC_LICENCE = pathlib.Path("/usr/share/doc/libc6/copyright")  # Debian and what derives from it
ROOT = pathlib.Path(__file__).resolve().parent.parent


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def source_date():
    """Seconds since 1970 of what is packed: the time of the last commit, unless SOURCE_DATE_EPOCH says otherwise."""
    named = os.environ.get("SOURCE_DATE_EPOCH")
    if named:
        return int(named)
    asked = subprocess.run(["git", "log", "-1", "--format=%ct"], capture_output=True, text=True, cwd=ROOT)
    return int(asked.stdout) if asked.returncode == 0 and asked.stdout.strip() else 0


def is_static(binary):
    """Whether a binary needs neither a loader nor libraries to start."""
    headers = output("readelf", "--wide", "--program-headers", "--dynamic", binary)
    return "INTERP" not in headers and "(NEEDED)" not in headers


def expression(licence):
    """A licence as SPDX writes it: older crates have a slash for `OR`."""
    return re.sub(r"\s*/\s*", " OR ", licence) if licence else None


def linked_crates(target):
    """Names and versions of the crates that are in the binary: neither build scripts and their dependencies nor macros."""
    tree = output("cargo", "tree", "--locked", "--package", "dnc-run", "--edges", "normal,no-proc-macro", "--target", target,
                  "--prefix", "none", "--format", "{p}")  # fmt: skip
    return {(line.split()[0], line.split()[1].removeprefix("v")) for line in tree.splitlines() if line.strip()}


def component(package, checksums):
    name, version = package["name"], package["version"]
    entry = {"type": "library", "bom-ref": f"pkg:cargo/{name}@{version}", "name": name, "version": version}
    entry["purl"] = entry["bom-ref"]
    if package["description"]:
        entry["description"] = " ".join(package["description"].split())
    if expression(package["license"]):
        entry["licenses"] = [{"expression": expression(package["license"])}]
    if (name, version) in checksums:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksums[name, version]}]
    return entry


def platform_components(static):
    """What the compiler adds: Rust's standard library and, to a static binary, glibc."""
    rust = output("rustc", "--version").split()[1]
    parts = [("rust-std", rust, "MIT OR Apache-2.0", "pkg:generic/rust-std")]
    if static:
        parts.append(("glibc", output("getconf", "GNU_LIBC_VERSION").split()[1], "LGPL-2.1-or-later", "pkg:generic/glibc"))
    return [
        {"type": "library", "bom-ref": f"{purl}@{version}", "name": name, "version": version, "purl": f"{purl}@{version}",
         "licenses": [{"expression": licence}]}  # fmt: skip
        for name, version, licence, purl in parts
    ]


def bill(packages, edges, checksums, binary, static):
    root = next(package for package in packages if package["name"] == "dnc-run")
    main = component(root, checksums) | {"type": "application"}
    main["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(binary.read_bytes()).hexdigest()}]
    libraries = [component(package, checksums) for package in packages if package is not root] + platform_components(static)
    dependencies = [{"ref": ref, "dependsOn": sorted(edges[ref])} for ref in sorted(edges)]
    platform = [part["bom-ref"] for part in libraries if part["purl"].startswith("pkg:generic/")]
    next(entry for entry in dependencies if entry["ref"] == main["bom-ref"])["dependsOn"] += platform
    time = datetime.datetime.fromtimestamp(source_date(), datetime.timezone.utc)
    content = {
        "metadata": {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": main},
        "components": libraries,
        "dependencies": dependencies,
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(content, sort_keys=True))
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": f"urn:uuid:{serial}", "version": 1} | content


def licences(packages, static):
    """The text of THIRD-PARTY.txt: who is in the binary under which licence, then each licence text once with those that have it."""
    texts, lines = {}, ["The program dnc-run contains these libraries. Those that publish no text of their own are left out below.", ""]
    for package in packages:
        if package["source"] is None:
            continue
        who = f"{package['name']} {package['version']}"
        lines.append(f"{who}: {expression(package['license']) or 'see its text below'}")
        folder = pathlib.Path(package["manifest_path"]).parent
        for path in sorted(folder.rglob("*")):
            if LICENCE_FILES.match(path.name) and path.suffix in ("", ".md", ".txt") and path.is_file():
                text = path.read_text(encoding="utf-8", errors="replace").strip()
                texts.setdefault(" ".join(text.split()), (text, []))[1].append(who)
    for part in platform_components(static):
        lines.append(f"{part['name']} {part['version']}: {part['licenses'][0]['expression']}")
    if static:
        lines += ["", "glibc is linked statically. Its source is published by the GNU project, and the program can be linked with another version",
                  "of it from the program's own source, with `make dist`."]  # fmt: skip
        if GLIBC_LICENCE.exists():
            texts["glibc"] = (GLIBC_LICENCE.read_text().strip(), ["glibc"])
    for text, owners in texts.values():
        lines += ["", "=" * 80, ", ".join(sorted(set(owners))), "=" * 80, "", text]
    return "\n".join(lines) + "\n"


def write(binary, out):
    static = is_static(binary)
    target = re.search(r"^host: (.*)$", output("rustc", "--version", "--verbose"), re.MULTILINE)[1]
    metadata = json.loads(output("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target))
    linked = linked_crates(target)
    packages = [package for package in metadata["packages"] if (package["name"], package["version"]) in linked]
    packages.sort(key=lambda package: (package["name"], package["version"]))
    if len(packages) != len(linked):
        raise SystemExit("Crates of one name and version from two sources cannot be told apart")
    refs = {package["id"]: f"pkg:cargo/{package['name']}@{package['version']}" for package in packages}
    edges = {
        refs[node["id"]]: {
            refs[dependency["pkg"]]
            for dependency in node["deps"]
            if dependency["pkg"] in refs and any(kind["kind"] is None for kind in dependency["dep_kinds"])
        }
        for node in metadata["resolve"]["nodes"]
        if node["id"] in refs
    }
    locked = re.findall(r'name = "(.*)"\nversion = "(.*)"\nsource = ".*"\nchecksum = "(.*)"', (ROOT / "Cargo.lock").read_text())
    checksums = {(name, version): checksum for name, version, checksum in locked}
    content = json.dumps(bill(packages, edges, checksums, binary, static), indent=1, ensure_ascii=False)
    (out / "dnc-run.cdx.json").write_text(content + "\n")
    (out / "THIRD-PARTY.txt").write_text(licences(packages, static))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    write(arguments.binary, arguments.out)
