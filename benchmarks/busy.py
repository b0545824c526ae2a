"""Training beside other busy processes, as in a class with several kernels open.

A thread of OpenMP that waits for others can spin, sleep, or spin a moment and then sleep, as avlib sets it. All
processes share two cores.
"""

import os
import subprocess
import sys

from benchmarks.timing import spread
from workbook import ROOT

WAITS = {
    "spin 1000 times, then sleep": {"GOMP_SPINCOUNT": "1000"},
    "sleep": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin": {"OMP_WAIT_POLICY": "ACTIVE"},
}
NEIGHBOURS, CORES = (0, 1, 3), 2
BURN = "while True: pass"
STEPS = """
import time
from benchmarks.train import Trainer
trainer = Trainer(frames=6, image_size=64, batch=16, device="cpu")
trainer.step()
begin = time.perf_counter()
while time.perf_counter() - begin < 10:
    print(trainer.step(), flush=True)
"""  # seconds of a step, for ten seconds


def measure(options) -> dict:
    """Seconds of a step of the toy corpus's size, by number of busy neighbours and way to wait, each in turn."""
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)  # of what is started here too
    rows = [
        {"neighbours": count, "waiting threads": wait} | spread(_steps(setting, count))
        for count in NEIGHBOURS
        for wait, setting in WAITS.items()
    ]
    return {"seconds of a step": rows, "cores": len(cores)}


def _steps(setting: dict[str, str], neighbours: int) -> list[float]:
    """The seconds of each step of a process of its own, beside so many others that never wait."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    environment |= setting | {"OMP_NUM_THREADS": str(CORES), "PYTHONPATH": str(ROOT)}
    others = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(neighbours)]
    try:
        ended = subprocess.run(
            [sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True, check=True
        )
    finally:
        for other in others:
            other.kill()
    return [float(line) for line in ended.stdout.split()]
