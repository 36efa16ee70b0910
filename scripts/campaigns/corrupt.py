"""Flips one bit in each file of a store, and in each line of its records, and runs again.

Half of the files keep their modification time, as with bit rot, so that nothing but reading them finds the flip. A flipped file must be
noticed by whoever reads it: half of the cases run a stage and all below it again, which reads what is above; the other half ask
`cache verify` first. In all cases the run ends well with the digests of a store that nobody damaged, or refuses the store with an error
and leaves no digest that differs.
"""
import os, shutil

from common import Campaign, difference

# What runs again. Each reads other files: pixels and views, models and clusters, metrics.
STAGES = ["init", "train", "evaluate", "choose"]

campaign = Campaign("corrupt", __doc__, 200)
whole = campaign.project("whole")
expected = campaign.reference(whole)


def places():
    """Files of the store with an offset to flip, several for each; of the records, one in each line at least."""
    found = []
    for folder, below, names in os.walk(whole.store):
        # In the same order on every machine, so that a seed stands for the same cases.
        below.sort()
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), whole.store)
            size = os.path.getsize(os.path.join(folder, name))
            if path.startswith("records"):
                with open(os.path.join(folder, name), "rb") as file:
                    start = 0
                    for line in file:
                        found += [(path, start + campaign.random.randrange(len(line))) for _ in range(3)]
                        start += len(line)
            elif size:
                found += [(path, offset) for offset in (0, size - 1, campaign.random.randrange(size))]
    campaign.random.shuffle(found)
    return found


damaged = os.path.join(campaign.folder, "damaged")
for number, (path, offset) in enumerate(places()[:campaign.options.cases]):
    shutil.rmtree(damaged, ignore_errors=True)
    project = whole.copied(damaged)
    file = os.path.join(project.store, path)
    before, is_rot = os.stat(file), campaign.random.random() < 0.5
    os.chmod(file, 0o644)
    with open(file, "r+b") as opened:
        opened.seek(offset)
        byte = opened.read(1)[0]
        opened.seek(offset)
        opened.write(bytes([byte ^ (1 << campaign.random.randrange(8))]))
    os.chmod(file, before.st_mode)
    if is_rot:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    campaign.count("by bit rot" if is_rot else "by a write")
    description = f"`{path}` flipped at {offset} by {'bit rot' if is_rot else 'a write'}"
    if number % 2:
        code, said = project.call("cache", "verify")
        if path.startswith("blobs") and code == 0:
            campaign.case(description, f"`cache verify` finds nothing: {said}")
            continue
    code, said = project.run("--from", campaign.random.choice(STAGES))
    if code == 0:
        campaign.count("right digests")
        campaign.case(description, difference(expected, project.digests()))
    else:
        campaign.count("refused")
        campaign.case(description, None if "error" in said else f"exit code {code} without an error: {said}")
campaign.end()
