#!/bin/sh
# Unpacks an archive of `make dist` into an empty folder and uses what is in it as a user would, with nothing of this repository: a first run,
# manual pages, completions, bill of materials. usage: test_dist.sh ARCHIVE
set -eu
archive=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
(cd "$(dirname "$archive")" && sha256sum --check --quiet SHA256SUMS)
mkdir "$folder/local" "$folder/work"
tar xzf "$archive" -C "$folder/local" --strip-components=1
local=$folder/local
cd "$folder/work"

# Calls something in an environment that has the unpacked folder and the system's programs alone.
clean() {
    env -i HOME="$folder" PATH="$local/bin:/usr/bin:/bin" MANPATH="$local/share/man" "$@"
}
fail() {
    echo "$archive: $1" >&2
    exit 1
}

clean dnc-run --version
clean dnc-run doctor >/dev/null || fail "doctor finds something wrong"
clean dnc-run init --quickstart first >/dev/null
clean dnc-run first/quickstart.toml --quiet --set 'rounds.learners=[1,2]' --set stage.decode.per_class=2 --set stage.augment.views=2 \
    --set stage.train.epochs=1 --set stage.train.sampler.per_class=2 --set stage.init.backbone=small --set stage.init.crop=32 \
    --set stage.init.resize=32 >metrics.txt
grep -q 'evaluate@1' metrics.txt || fail "the quickstart prints no metrics of its last round"
clean dnc-run report quickstart >/dev/null
# A remote whose host has a name: the server refuses, and is understood.
python3 -c '
import http.server
class Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(403)
    do_HEAD = do_PUT = do_PROPFIND = do_GET
server = http.server.HTTPServer(("127.0.0.1", 0), Refusing)
print(server.server_port, flush=True)
server.serve_forever()' >port.txt 2>server.txt &
server=$!
trap 'kill $server; rm -r "$folder"' EXIT
while ! [ -s port.txt ]; do sleep 0.1; done
clean dnc-run cache status --remote "http://localhost:$(cat port.txt)/store" >status.txt 2>&1 && fail "a server that refuses is not an error"
grep -q '403' status.txt || fail "localhost is not asked: $(cat status.txt)"

for page in dnc-run dnc-run-plan dnc-run-cache-push; do
    [ -s "$local/share/man/man1/$page.1" ] || fail "there is no manual page of $page"
done
if command -v man >/dev/null; then
    clean man dnc-run-plan | grep -q 'what would run' || fail "man does not find dnc-run-plan"
fi

# What `dnc-run logs quickstart tr<Tab>` offers.
clean bash -c '
    source "$1/share/bash-completion/completions/dnc-run"
    COMP_WORDS=(dnc-run logs quickstart tr) COMP_CWORD=3 COMP_LINE="dnc-run logs quickstart tr" COMP_POINT=26 COMP_TYPE=9
    _clap_complete_dnc_run dnc-run tr quickstart && echo "${COMPREPLY[@]}"' - "$local" >completed.txt
grep -q 'train@1\[1\]' completed.txt || fail "bash does not complete nodes: $(cat completed.txt)"
if command -v zsh >/dev/null; then
    zsh -n "$local/share/zsh/site-functions/_dnc-run"
fi
if command -v fish >/dev/null; then
    clean fish --no-config -c "source $local/share/fish/vendor_completions.d/dnc-run.fish; complete -C 'dnc-run logs quickstart tr'" |
        grep -q 'train@1\[1\]' || fail "fish does not complete nodes"
fi

for document in README.md LICENSE-MIT LICENSE-APACHE CHANGELOG.md THIRD-PARTY.txt; do
    [ -s "$local/share/doc/dnc-run/$document" ] || fail "$document is missing"
done
python3 - "$local" <<'PYTHON'
import hashlib, json, pathlib, sys
local = pathlib.Path(sys.argv[1])
bill = json.loads((local / "share/doc/dnc-run/dnc-run.cdx.json").read_text())
main = bill["metadata"]["component"]
assert main["hashes"][0]["content"] == hashlib.sha256((local / "bin/dnc-run").read_bytes()).hexdigest(), "the bill is of another binary"
known = {part["bom-ref"] for part in bill["components"]} | {main["bom-ref"]}
assert all(ref in known for entry in bill["dependencies"] for ref in [entry["ref"], *entry["dependsOn"]]), "a dependency is missing"
assert all("licenses" in part for part in bill["components"]), "a component has no licence"
print(f"{len(known)} components")
PYTHON
echo "$archive: unpacked, run and read"
