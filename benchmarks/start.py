"""How long a first result takes, and how much memory: `import avlib`, a network, the first figure of the explorer.

Each is a process of its own, warm from one uncounted run. `--run` names a trained run for the figure of the explorer.
"""

import json
import subprocess
import sys

from benchmarks.timing import spread
from workbook import ROOT

STEPS = {
    "import avlib": "import avlib",
    "a network": "import avlib; avlib.build_model('ia')",
    "the explorer's first figure": """
from workbook import open_trained
from workbook.attention.truth import clip_with_most_cues, cues_by_clip
from workbook.explore.explorer import Explorer
from workbook.run.reopen import subjects

run = open_trained({run!r})
cues = cues_by_clip(run.test.table, run.truth)
Explorer(subjects(run), run.test, clip_with_most_cues(run.test.table, cues), cues).figure()
""",
}
MEASURED = """
import json, time
start = time.perf_counter()
{source}
seconds = time.perf_counter() - start
import psutil
print(json.dumps([seconds, psutil.Process().memory_info().rss / 2**20]))
"""


def measure(options) -> dict:
    """Seconds and MB of each step: medians, lowest and highest of the rounds."""
    steps = {name: source for name, source in STEPS.items() if options.run or "{run" not in source}
    results = {}
    for name, source in steps.items():
        rounds = [_in_a_process(source.format(run=options.run)) for _ in range(options.rounds + 1)][1:]
        seconds, memory = zip(*rounds, strict=True)
        results[name] = {"seconds": spread(seconds), "MB": spread(memory)}
    return {"steps": results}


def _in_a_process(source: str) -> tuple[float, float]:
    command = [sys.executable, "-c", MEASURED.format(source=source)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(json.loads(ended.stdout.splitlines()[-1]))
