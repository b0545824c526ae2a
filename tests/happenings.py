"""What happens to some clips in the processes that prepare them, for test_faults.py.

It is a module of its own, and imports little: each of these processes imports it.
"""

import os
import resource
import signal
import time
from pathlib import Path

# Each is called before `prepare_clip`, which is then called as it is.


def no_descriptors(trial):
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def no_memory(trial):
    resource.setrlimit(resource.RLIMIT_AS, (2**20, resource.getrlimit(resource.RLIMIT_AS)[1]))


def no_drive(trial):
    folder = Path(trial["audio_path"]).parent
    if folder.exists():
        folder.rename(folder.with_name("away"))


def killed(trial):
    os.kill(os.getpid(), signal.SIGKILL)


def killed_once(trial):
    mark = Path(trial["audio_path"]).with_suffix(".killed")
    if not mark.exists():
        mark.touch()
        killed(trial)


def crashing(trial):
    os.kill(os.getpid(), signal.SIGSEGV)


def busy(trial):
    from workbook.data import workers

    left, _ = signal.getitimer(signal.ITIMER_PROF)
    assert 0 < left < workers.SECONDS + 1
    signal.setitimer(signal.ITIMER_PROF, 0.1)  # as if the rest had gone by
    while True:
        pass


def greedy(trial):
    from workbook.data import workers

    workers.MEMORY = 1000  # in the worker: less than it has
    time.sleep(30)


PASSES = {1: no_descriptors, 4: no_memory, 7: killed, 8: killed_once}  # actor -> what happens
STAYS = {2: crashing, 5: busy, 9: greedy}


def prepare_and_let_happen(trial, **settings):
    from workbook.data.prepare import prepare_clip

    limits = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)}
    try:
        (PASSES | STAYS).get(trial["actor"], lambda trial: None)(trial)
        return prepare_clip(trial, **settings)
    finally:
        for kind, limit in limits.items():
            resource.setrlimit(kind, limit)


def prepare_without_drive(trial, **settings):
    from workbook.data.prepare import prepare_clip

    if trial["actor"] == 3:
        no_drive(trial)
    return prepare_clip(trial, **settings)


def end_at_start():
    os.kill(os.getpid(), signal.SIGKILL)
