"""Eight processes in two projects run one pipeline in one store, with `cache gc` beside them and random kills.

Whoever is not killed must end well with the digests of a run that nobody disturbed. At the end of each case the store is clean, and
both projects get these digests.
"""
import os, signal, time

from common import Campaign, difference

PROCESSES = 8

campaign = Campaign("crowd", __doc__, 20)
whole = campaign.project("whole")
began = time.monotonic()
expected = campaign.reference(whole)
length = time.monotonic() - began
for number in range(campaign.options.cases):
    projects = [campaign.project(f"{number}-{name}") for name in ("one", "other")]
    store = ["--store", projects[0].store]
    crowd = [(project, project.start(project.command(*store))) for _ in range(PROCESSES // 2) for project in projects]
    killed, wrong, until = set(), [], time.monotonic() + length * campaign.random.random() * 2
    while time.monotonic() < until:
        time.sleep(length * campaign.random.random() / 3)
        if campaign.random.random() < 0.5:
            code, said = campaign.random.choice(projects).call("cache", "gc", "--keep", "1", *store)
            wrong += [f"`cache gc` fails: {said}"] * (code != 0)
            campaign.count("`cache gc`")
        else:
            victim = campaign.random.randrange(PROCESSES)
            if crowd[victim][1].poll() is None:
                os.kill(crowd[victim][1].pid, signal.SIGKILL)
                killed.add(victim)
    for place, (project, process) in enumerate(crowd):
        code, said = project.wait(process)
        if place in killed and code != 0:
            campaign.count("killed")
        elif code != 0:
            wrong.append(f"a process fails with {code}: {said[-600:]}")
        else:
            campaign.count("ends")
    for project in projects:
        code, said = project.run(*store)
        wrong.append(difference(expected, project.digests()) if code == 0 else f"the last run fails: {said[-600:]}")
    code, said = projects[0].call("cache", "verify", *store)
    wrong += [f"`cache verify` finds: {said}"] * (code != 0)
    campaign.case(f"store {number}", "; ".join(text for text in wrong if text))
campaign.end()
