"""Presses Ctrl-C at random moments of a run, and starts it again, until it is done; again and again.

Each time the run must end within a second with exit code 130, and call nothing done that is wrong. The run that ends at last must give
the digests of a run that nobody disturbed.
"""
import shutil, signal, time

from common import Campaign, difference

LIMIT = 1.0

campaign = Campaign("stop", __doc__, 200)
whole = campaign.project("whole")
began = time.monotonic()
expected = campaign.reference(whole)
length = time.monotonic() - began
slowest, project, number = 0.0, None, 0
while campaign.cases < campaign.options.cases:
    if project is None:
        number += 1
        project = campaign.project(f"stopped-{number}")
    # Short enough that a project is stopped several times, long enough that it comes on.
    delay = campaign.random.random() * max(1.0, length / 4)
    process = project.start(project.command())
    time.sleep(delay)
    begins = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, said = project.wait(process)
    took = time.monotonic() - begins
    running = [node["node"] for node in (project.last_run() or {"nodes": []})["nodes"] if node["outcome"] == "cancelled"]
    description = f"Ctrl-C after {delay:.3f} s, in {', '.join(running) or 'no node'}"
    if code == 0:
        # It was done before Ctrl-C came; it counts as the end of the project.
        campaign.count("ends")
        campaign.case(description, difference(expected, project.digests()))
        shutil.rmtree(project.folder)
        project = None
        continue
    slowest = max(slowest, took)
    campaign.count("in a node" if running else "in no node")
    wrong = [difference(expected, project.digests(), complete=False)]
    if code not in (130, -signal.SIGINT):
        wrong.append(f"exit code {code}: {said}")
    if took > LIMIT:
        wrong.append(f"it took {took:.2f} s to end")
    campaign.case(description, "; ".join(text for text in wrong if text))
if project is not None:
    # The last project was never done: nothing has compared all of its digests yet.
    code, said = project.run()
    if wrong := difference(expected, project.digests()) if code == 0 else f"exit code {code}: {said}":
        campaign.case("the run after the last Ctrl-C", wrong)
campaign.notes["s for the slowest end"] = f"{slowest:.2f}"
campaign.end()
