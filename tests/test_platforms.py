"""A grid on what Linux, macOS and Windows have in common: the rest is hidden from both packages, in every process."""

import json
import os
import subprocess
import sys
from runpy import run_path

import pytest
import yaml
from smoke_runs import SMOKE
from sweeps import RUN

import workbook
from workbook.run import app

SITE = '''
import builtins
import importlib

MODULES = {"fcntl", "grp", "posix", "pwd", "resource", "termios"}
NAMES = {
    "os": {"fork", "getpgid", "getuid", "killpg", "mkfifo", "posix_fallocate", "sched_getaffinity", "setsid", "uname"},
    "signal": {
        *("SIGHUP", "SIGKILL", "SIGSTOP", "SIGCONT", "SIGALRM", "SIGPROF", "ITIMER_REAL", "ITIMER_PROF"),
        *("alarm", "getitimer", "setitimer", "pthread_kill", "pthread_sigmask"),
    },
}
import_any = builtins.__import__


class Common:
    """A module without the names that only some systems have."""

    def __init__(self, name):
        self._module, self._hidden = importlib.import_module(name), NAMES[name]

    def __getattr__(self, name):
        if name in self._hidden:
            raise AttributeError(f"no {name} on this system")
        return getattr(self._module, name)

    def __dir__(self):
        return [name for name in dir(self._module) if name not in self._hidden]


def import_common(name, globals=None, locals=None, fromlist=(), level=0):
    if (globals or {}).get("__name__", "").partition(".")[0] in ("avlib", "workbook") and level == 0:
        if name in MODULES:
            raise ModuleNotFoundError(f"no {name} on this system", name=name)
        if name in NAMES:
            return Common(name)
    return import_any(name, globals, locals, fromlist, level)


builtins.__import__ = import_common
'''


@pytest.fixture
def elsewhere(tmp_path) -> dict[str, str]:
    """The variables of a process that, with all that it starts, has only what all systems have."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    paths = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"AVLIB_DATA": str(workbook.DATA), "PYTHONPATH": os.pathsep.join(paths)}


def test_what_only_some_systems_have_is_hidden_from_both_packages(elsewhere):
    code = "import workbook.cli as cli; print(hasattr(cli.signal, 'SIGHUP'), hasattr(cli.signal, 'SIGTERM'))"
    process = subprocess.run([sys.executable, "-c", code], env=elsewhere, capture_output=True, text=True, check=True)
    assert process.stdout == "False True\n"


def test_a_grid_from_clips_to_attention_runs_side_by_side_on_any_system(elsewhere, small_toy, tmp_path):
    grid = SMOKE | {"frames": 2, "seed": [1, 2], "data_root": str(small_toy), "outputs_root": str(tmp_path / "runs")}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    command = [*RUN, str(tmp_path / "grid.yaml"), "--jobs", "2"]
    process = subprocess.run(command, env=elsewhere, capture_output=True, text=True)
    assert process.returncode == 0 and "(2 of 2 done)" in process.stdout, process.stdout + process.stderr
    for record in (tmp_path / "runs").rglob("run.json"):
        executed = json.loads(record.read_text())["notebooks"]
        assert {"train", "evaluate", "attention"} <= executed.keys()


@pytest.mark.parametrize(("system", "shares"), [("win32", False), ("linux", True)])
def test_the_server_of_a_page_takes_no_port_of_another_one(system, shares, monkeypatch):
    """On Windows, SO_REUSEADDR lets two servers share a port; elsewhere it frees that of one that has just ended."""
    monkeypatch.setattr(sys, "platform", system)
    assert bool(run_path(app.__file__)["PageServer"].allow_reuse_address) is shares
