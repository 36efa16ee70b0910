"""Runs on disks that are full after so many kilobytes, one size after the other, so that each write of a run fails in some case.

The disk is a tmpfs in a private mount namespace. On the full disk the run fails with an error that speaks of space, and calls nothing
done that is wrong. With more space the next run gives the digests of a run that nobody disturbed, and the store is clean. Linux only;
needs permission for user namespaces (or root).
"""
import json, os, subprocess, sys

from common import Campaign, difference

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
# The exit code of a campaign that cannot run here.
SKIPPED = 77

campaign = Campaign("full-disk", __doc__, 100)
probe = subprocess.run([*NAMESPACE, 'mount -t tmpfs none "$1"', "sh", campaign.folder], capture_output=True, text=True)
if probe.returncode:
    print(f"full-disk: skipped, a tmpfs cannot be mounted: {probe.stderr.strip()}")
    sys.exit(SKIPPED)
whole = campaign.project("whole")
expected = campaign.reference(whole)
used = sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(whole.folder) for name in names)
data = sum(os.path.getsize(os.path.join(folder, name))
           for folder, _, names in os.walk(os.path.join(whole.folder, "pipelines")) for name in names)
source = campaign.project("source")
mounted = os.path.join(campaign.folder, "mounted")
os.mkdir(mounted)
# Prints the exit code, a marker and the last run.json of both runs, and what `cache verify` says.
script = r"""
set -u
mount -t tmpfs -o size=$1k none "$2" && cp -r "$3/." "$2" && cd "$2" || exit 9
shift 3
report() { echo "== $1"; cat $(ls -d runs/quickstart/* 2>/dev/null | sort -V | tail -1)/run.json 2>/dev/null; echo; }
"$@" 2>&1; report $?
mount -o remount,size=4g none . || exit 9
"$@" 2>&1; report $?
"$DNC" cache verify 2>&1; echo "== $?"
"""


def digests(text):
    nodes = json.loads(text)["nodes"] if text.strip() else []
    return {node["node"]: node["outputs"] for node in nodes if node["outcome"] in ("ran", "hit")}


for number in range(campaign.options.cases):
    # One size in each of equal steps between the data alone and everything.
    step = (used - data) / campaign.options.cases
    size = int((data + step * (number + campaign.random.random())) / 1024) + 64
    command = [*NAMESPACE, script, "sh", str(size), mounted, source.folder]
    process = source.start(["env", f"DNC={source.dnc}", *command, *source.command()])
    code, said = source.wait(process)
    description = f"a disk of {size} kB"
    parts = said.split("== ")
    if len(parts) != 4:
        campaign.case(description, f"a disk cannot be made: {said}")
        break
    (full, first), (_, second) = ((part.split("\n", 1) for part in parts[1:3]))
    full = int(full)
    again = int(parts[2].split("\n", 1)[0])
    wrong = []
    if full == 0:
        campaign.count("runs that fit")
    elif "space" not in parts[0]:
        wrong.append(f"the error does not speak of space: {parts[0][-600:]}")
    try:
        first, second = first.split("\n")[0], second.split("\n")[0]
        wrong += [difference(expected, digests(first), complete=False), difference(expected, digests(second))]
    except ValueError as error:
        wrong.append(f"run.json is cut: {error}")
    if again != 0:
        wrong.append(f"the next run fails: {parts[1][-600:]}")
    if int(parts[3].split()[0]) != 0:
        wrong.append(f"`cache verify` finds: {parts[2][-600:]}")
    campaign.case(description, "; ".join(text for text in wrong if text))
campaign.end()
