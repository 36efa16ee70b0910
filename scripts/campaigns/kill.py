"""Kills what changes a store at random moments: `cache gc`, `cache push`, `cache pull` and the upgrade of an older store.

After each kill the same call ends well, the store is clean, the remote has nothing wrong, and a run gives the digests of a run that
nobody disturbed. `scripts/kill-nine.sh` kills runs.
"""
import os, shutil, signal, time

from common import Campaign, difference

campaign = Campaign("kill", __doc__, 200)
whole = campaign.project("whole")
expected = campaign.reference(whole)
# A second run with other settings, whose blobs `cache gc --keep 1` drops once the first has run again.
campaign.prepare(whole.run("--set", "seed=1"))
campaign.prepare(whole.run())
remote = os.path.join(campaign.folder, "remote")


def older(project):
    """Makes the store one of format 2, which distributed blobs by two digits."""
    blobs = os.path.join(project.store, "blobs")
    for folder in os.listdir(blobs):
        for name in os.listdir(os.path.join(blobs, folder)):
            os.makedirs(os.path.join(blobs, name[:2]), exist_ok=True)
            os.rename(os.path.join(blobs, folder, name), os.path.join(blobs, name[:2], name))
        os.rmdir(os.path.join(blobs, folder))
    file = os.path.join(project.store, "format")
    os.chmod(file, 0o644)
    with open(file, "w") as format:
        format.write("dnc-store 2\n")


CALLS = {
    "gc": (["cache", "gc", "--keep", "1"], lambda project: None),
    "push": (["cache", "push", "--remote", remote], lambda project: shutil.rmtree(remote, ignore_errors=True)),
    "pull": (["cache", "pull", "--remote", remote], lambda project: shutil.rmtree(project.store)),
    "upgrade": (["cache", "verify"], older),
}
for number in range(campaign.options.cases):
    name = list(CALLS)[number % len(CALLS)]
    words, prepare = CALLS[name]
    project = whole.copied(os.path.join(campaign.folder, "killed"))
    if name == "pull" and not os.path.isdir(remote):
        campaign.prepare(project.call("cache", "push", "--remote", remote))
    prepare(project)
    process = project.start([project.dnc, *words])
    delay = campaign.random.random() ** 2 * 0.4
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    code, said = project.wait(process)
    campaign.count(f"{name} {'killed' if code else 'done before'}")
    # It ended before the kill, by itself.
    wrong = [f"it fails with {code}: {said}"] * (code not in (0, -signal.SIGKILL))
    for words in (words, ["cache", "verify"]):
        code, said = project.call(*words)
        wrong += [f"`{' '.join(words)}` fails then: {said}"] * (code != 0)
    code, said = project.run()
    wrong.append(difference(expected, project.digests()) if code == 0 else f"the next run fails: {said[-600:]}")
    if name == "push":
        shutil.rmtree(project.store)
        code, said = project.call("cache", "pull", "--remote", remote)
        wrong += [f"what was pushed cannot be pulled: {said}"] * (code != 0)
        code, said = project.run()
        wrong.append(difference(expected, project.digests()) if code == 0 else f"a run of what was pulled fails: {said[-600:]}")
    campaign.case(f"{name} after {delay:.3f} s", "; ".join(text for text in wrong if text))
    shutil.rmtree(project.folder)
campaign.end()
