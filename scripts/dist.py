"""Packs a binary for machines that have neither Rust nor this repository: `make dist`.

usage: dist.py --binary FILE --out DIR

Writes OUT/dnc-run-VERSION-ARCHITECTURE-linux.tar.gz and OUT/SHA256SUMS. The archive is laid out as `/usr/local` and `~/.local` are, so that it
is installed by unpacking it there: the program, manual pages, completions for bash, zsh and fish, licences and the bill of materials.
The same binary and commit give the same archive. Needs binutils and cargo.
"""
import argparse, gzip, hashlib, io, json, pathlib, platform, shutil, subprocess, sys, tarfile

import sbom

ROOT = sbom.ROOT
COMPLETIONS = {
    "bash": "share/bash-completion/completions/dnc-run",
    "zsh": "share/zsh/site-functions/_dnc-run",
    "fish": "share/fish/vendor_completions.d/dnc-run.fish",
}
DOCUMENTS = ["README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE-APACHE", "LICENSE-MIT"]
# zsh reads a file of completions when the first one is asked for, which must then be answered as well.
ZSH_FIRST = '\nif [ "$funcstack[1]" = "_dnc-run" ]; then\n    _clap_dynamic_completer_dnc_run "$@"\nfi\n'


def fill(folder, binary):
    """Writes what is in the archive."""
    program = folder / "bin/dnc-run"
    program.parent.mkdir(parents=True)
    subprocess.run(["strip", "-o", program, binary], check=True)
    subprocess.run([program, "man", folder / "share/man/man1"], check=True)
    for shell, name in COMPLETIONS.items():
        text = subprocess.run([program, "completions", shell], check=True, capture_output=True, text=True).stdout
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_text(text + (ZSH_FIRST if shell == "zsh" else ""))
    documents = folder / "share/doc/dnc-run"
    documents.mkdir(parents=True)
    for name in DOCUMENTS:
        shutil.copyfile(ROOT / name, documents / name)
    sbom.write(program, documents)


def pack(folder, archive):
    """Packs a folder so that nothing but names and contents matters."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in [folder, *sorted(folder.rglob("*"))]:
            member = tar.gettarinfo(path, arcname=str(path.relative_to(folder.parent)))
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            member.mtime = sbom.source_date()
            member.mode = 0o755 if path.is_dir() or path.parent.name == "bin" else 0o644
            with path.open("rb") if path.is_file() else io.BytesIO() as content:
                tar.addfile(member, content if path.is_file() else None)
    archive.write_bytes(gzip.compress(buffer.getvalue(), compresslevel=9, mtime=0))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the archive; emptied first")
    arguments = parser.parse_args()
    if not sbom.is_static(arguments.binary):
        sys.exit(f"{arguments.binary} needs shared libraries to start: link it with `-C target-feature=+crt-static`, as `make dist` does")
    metadata = json.loads(sbom.output("cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"))
    version = next(package["version"] for package in metadata["packages"] if package["name"] == "dnc-run")
    shutil.rmtree(arguments.out, ignore_errors=True)
    folder = arguments.out / f"dnc-run-{version}-{platform.machine()}-linux"
    fill(folder, arguments.binary)
    archive = folder.with_name(folder.name + ".tar.gz")
    pack(folder, archive)
    shutil.rmtree(folder)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (arguments.out / "SHA256SUMS").write_text(f"{digest}  {archive.name}\n")
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB")


main()
