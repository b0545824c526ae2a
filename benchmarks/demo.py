"""How long the runs of `make demo` take, in all and notebook by notebook; `--jobs 2` does two runs side by side."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import aim
from workbook import ROOT
from workbook.run.record import Record

AIM = 120  # seconds
AVLIB = [sys.executable, "-c", "from workbook.cli import main; main()"]


def measure(options) -> dict:
    """Seconds of all, once, from drawn corpora to attention; and those of each run's notebooks."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "outputs"
        command = [*AVLIB, "run", ROOT / "params" / "demo.yaml", "-p", "outputs_root", outputs]
        command += ["--jobs", str(options.jobs or 1)]
        start = time.perf_counter()
        subprocess.run(command, env=os.environ | {"AVLIB_DATA": f"{folder}/data"}, check=True)
        seconds = time.perf_counter() - start
        runs = sorted(outputs.glob("*/*/fold0-seed1"))
        notebooks = {str(run.relative_to(outputs)): Record.read(run).notebooks for run in runs if Record.read(run)}
    return {"seconds": seconds, "notebooks": notebooks, "aim": aim(seconds, AIM, "s", at_most=True)}
