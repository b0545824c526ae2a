"""What happens to some clips in the processes that prepare them, for test_prepare.py.

It is a module of its own, and imports little: each of these processes imports it.
"""

import os
import signal
import time
from pathlib import Path


def crash(trial):
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(trial):
    os._exit(11)


def hang(trial):
    time.sleep(99)


def take_memory(trial):
    from workbook.data import prepare

    prepare.MEMORY = 1000  # less than this process has
    time.sleep(30)


def run_short_of_memory(trial):
    raise MemoryError


def be_killed_once(trial):
    mark = Path(trial["audio_path"]).with_suffix(".killed")
    if not mark.exists():
        mark.touch()
        crash(trial)


MISHAPS = {2: crash, 3: leave, 5: hang, 6: take_memory, 7: run_short_of_memory, 8: be_killed_once}  # actor -> what


def prepare_with_mishaps(trial, **settings):
    from workbook.data.prepare import prepare_clip

    if trial["actor"] in MISHAPS:
        time.sleep(0.1)
        MISHAPS[trial["actor"]](trial)
    return prepare_clip(trial, **settings)


def prepare_without_drive(trial, **settings):
    from workbook.data.prepare import prepare_clip

    folder = Path(trial["audio_path"]).parent
    if trial["actor"] == 3 and folder.exists():
        folder.rename(folder.with_name("away"))
    return prepare_clip(trial, **settings)
