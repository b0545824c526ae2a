"""Commands and signals: afterwards nothing runs, nothing is left on disk, and one line was printed."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest
import soundfile
from drawn_predictions import predictions
from safetensors.torch import save_file
from smoke_runs import JUPYTER_FOLDERS, data
from sweeps import finished_run, kernel_at_work, wait_for
from test_media import tone

import workbook
from avlib import build_model
from workbook.data.window import SAMPLE_RATE
from workbook.run.parameters import Parameters
from workbook.run.record import note, now
from workbook.run.run_folder import start_run

AVLIB = [sys.executable, "-c", "from workbook.cli import main; main()"]
LINE = "Error: interrupted; the same command goes on where it stopped"
MARK = "AVLIB_TEST_MARK"  # a variable that all processes of a command inherit
SIGNALS = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL") if hasattr(signal, name)]
QUICK = {("run", "SIGTERM"), ("report", "SIGHUP"), ("report", "SIGKILL"), ("table", "SIGINT")}
pty = pytest.importorskip("pty", reason="this system has no terminals that a test can close")


@pytest.fixture
def network(tmp_path) -> Path:
    """The folder of a trained run of the toy corpus."""
    with start_run(Parameters(outputs_root=str(tmp_path / "runs")), data("abc")) as run:
        pass
    save_file(build_model(image_size=64).state_dict(), run.folder / "model.safetensors")
    note(run.folder, trained=now())
    return run.folder


@pytest.fixture
def silent_server():
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def hang_up_ends_a_process():
    """Under nohup the tests ignore SIGHUP, and so would the commands that they start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def start(tmp_path, grid, network, silent_server, monkeypatch):
    """Starts a command, and returns the process once it is in the middle of its work."""
    folders = {name: str(tmp_path / "jupyter" / value) for name, value in JUPYTER_FOLDERS.items()}
    for name in ("tmp", "jupyter"):  # without its folder IPython makes a temporary one
        (tmp_path / name).mkdir()
    token = uuid.uuid4().hex
    own = folders | {MARK: token, "TMPDIR": str(tmp_path / "tmp"), "AVLIB_DATA": str(workbook.DATA)}
    own |= {"HTTPS_PROXY": silent_server, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}

    def command(name: str) -> list[str]:
        if name.split()[0] == "run":
            return ["run", str(grid(epochs=3000)), *name.split()[1:]]
        if name == "report":
            folder = finished_run(tmp_path / "done", {"AV": 50})
            predictions((1, 0.5, 0.5)).to_parquet(folder / "predictions.parquet")
            return ["report", str(tmp_path / "done")]
        if name == "predict":
            soundfile.write(tmp_path / "long.wav", tone(200, 600), SAMPLE_RATE)
            return ["predict", str(tmp_path / "long.wav"), "--run", str(network), "--hop", "0.1"]
        if name == "download":
            return ["download", "ravdess", "--to", str(tmp_path / "ravdess")]
        return [name, *([str(tmp_path / "runs")] if name in ("table", "runs") else [])]

    def is_at_work(name: str, process: subprocess.Popen) -> bool:
        if name.split()[0] == "run":
            return bool(kernel_at_work(tmp_path / "runs" / "features"))
        if name == "report":
            has_kernel = psutil.Process(process.pid).children(recursive=True)
            return bool(has_kernel) and not [*(tmp_path / "tmp").glob("*.json")]  # it has started
        return True

    def begin(name: str, terminal: int | None = None) -> tuple:
        log = tmp_path / "log"
        out = terminal if terminal is not None else log.open("w")
        process = subprocess.Popen(
            [*AVLIB, *command(name)], env=os.environ | own, stdin=out if terminal else None, stdout=out, stderr=out,
            cwd=tmp_path, start_new_session=True,
        )  # fmt: skip
        if terminal is None:
            wait_for(lambda: process.poll() is not None or is_at_work(name, process))
        time.sleep(2)
        assert process.poll() is None or name in ("table", "runs", "parameters"), log.read_text()
        return process, log, token

    return begin


def left_running(token: str) -> list[str]:
    """The command lines of the processes of a command that have not ended."""
    lines = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == token and process.status() != psutil.STATUS_ZOMBIE:
                lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return lines


def cases():
    commands = ("run", "run --jobs 2", "report", "predict", "download", "table", "runs", "parameters")
    for command in commands:
        for name in (*SIGNALS, "closed terminal"):
            yield pytest.param(command, name, marks=() if (command, name) in QUICK else pytest.mark.slow)


@pytest.mark.parametrize(("command", "name"), cases())
def test_a_command_that_is_ended_leaves_nothing(start, tmp_path, command, name):
    terminal = None
    if name == "closed terminal":
        ours, terminal = pty.openpty()
    process, log, token = start(command, terminal)
    if terminal is None:
        process.send_signal(getattr(signal, name))
    else:
        os.close(terminal)
        os.close(ours)
        process.send_signal(signal.SIGHUP)  # the system sends it to the session's leader
    status = process.wait(60)
    wait_for(lambda: not left_running(token), seconds=20)
    left = {path.name for path in (tmp_path / "tmp").iterdir() if not path.name.startswith("torchinductor")}  # a cache
    assert not left
    if name in ("SIGKILL", "closed terminal"):
        return
    text = log.read_text()
    assert "Traceback" not in text and "Exception" not in text, text
    is_short = command in ("table", "runs", "parameters")
    if status != 0 and not (is_short and status < 0):  # a short command may be done already, or about to exit
        assert status == 130 and text.splitlines()[-1] == LINE and text.count("interrupted") == 1, text
