"""Training beside other busy processes, as in a class with several kernels open: threads that spin, and that sleep.

A thread of OpenMP that waits for the others either spins or sleeps (OMP_WAIT_POLICY). All processes share two cores.
"""

import os
import subprocess
import sys

from avlib import ROOT
from benchmarks.timing import spread

POLICIES, NEIGHBOURS, CORES = ("PASSIVE", "ACTIVE"), (0, 1, 3), 2
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
    """Seconds of a step of the toy corpus's size, by policy and number of busy neighbours, each in turn."""
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)  # of what is started here too
    rows = [
        {"neighbours": count, "policy": policy} | spread(_steps(policy, count))
        for count in NEIGHBOURS
        for policy in POLICIES
    ]
    return {"seconds of a step": rows, "cores": len(cores)}


def _steps(policy: str, neighbours: int) -> list[float]:
    """The seconds of each step of a process of its own, beside so many others that never wait."""
    environment = os.environ | {"OMP_WAIT_POLICY": policy, "OMP_NUM_THREADS": str(CORES), "PYTHONPATH": str(ROOT)}
    others = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(neighbours)]
    try:
        ended = subprocess.run(
            [sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True, check=True
        )
    finally:
        for other in others:
            other.kill()
    return [float(line) for line in ended.stdout.split()]
