"""What the Makefile and the environment promise: commands are taken from the files themselves and started."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import nbformat
import pytest
from smoke_runs import JUPYTER_FOLDERS

from workbook import ROOT


def lab_command(**env: str) -> list[str]:
    """What `make lab` runs last, whether or not these tests were started by make."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    given |= {"VIRTUAL_ENV": sys.prefix} | env
    done = subprocess.run(["make", "--dry-run", "lab"], cwd=ROOT, env=given, capture_output=True, text=True, check=True)
    return shlex.split(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("user", "allowed"), [("0", True), ("1000", False)])
def test_make_lab_lets_root_start_it_and_no_one_else_needs_to(user, allowed, tmp_path):
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (tmp_path / "id").chmod(0o755)
    command = lab_command(PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert command[:2] == ["jupyter", "lab"]
    assert ("--allow-root" in command) is allowed


def test_make_lab_shows_the_workbook_and_opens_its_notebooks(tmp_path):
    own = {name: str(tmp_path / folder) for name, folder in JUPYTER_FOLDERS.items()}
    command = [
        sys.executable,
        "-m",
        *lab_command(),
        "--no-browser",
        "--ServerApp.port=0",
        "--IdentityProvider.token=toy",
    ]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stdout=log, stderr=log)
    try:
        url = address(tmp_path / "runtime", process, tmp_path / "log")
        with urlopen(Request(f"{url}api/contents", headers={"Authorization": "token toy"})) as answer:
            assert {entry["name"] for entry in json.load(answer)["content"]} >= {
                "README.md",
                "avlib",
                "docs",
                "notebooks",
            }
        with urlopen(Request(url, headers={"Authorization": "token toy"})) as answer:
            assert answer.url == f"{url}lab/tree/notebooks"
    finally:
        process.terminate()
        process.wait(20)


def address(runtime: Path, process: subprocess.Popen, log: Path) -> str:
    """Where the server listens, as soon as it answers."""
    for _ in range(240):
        assert process.poll() is None, log.read_text()[-2000:]
        for path in runtime.glob("jpserver-*.json"):
            try:
                url = json.loads(path.read_text())["url"].replace("localhost", "127.0.0.1")
                urlopen(f"{url}api").close()
                return url
            except (ValueError, URLError):
                pass
        time.sleep(0.25)
    raise AssertionError(f"JupyterLab did not answer: {log.read_text()[-2000:]}")


@pytest.fixture
def tools(tmp_path):
    """A folder with the programs that make needs, but without Python and uv."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for tool in ("make", "bash", "sh", "id", "cat"):
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


def write_script(path: Path, log: Path, code: int = 0, then: str = "") -> None:
    """A program that writes its name and arguments to the log, executes a line of shell, and ends with the code."""
    path.write_text(f'#!/bin/sh\necho {path.name} "$@" >> "{log}"\n{then}\nexit {code}\n')
    path.chmod(0o755)


@pytest.mark.parametrize(("uv", "installers"), [(None, ["pip", "pip"]), (0, ["uv"]), (2, ["uv", "pip"])])
def test_setting_up_takes_uv_where_it_works_and_pip_otherwise(uv, installers, tools, tmp_path):
    """uv : its exit code; None = there is no uv, and pip cannot install it."""
    environment, log = tmp_path / "environment", tmp_path / "log"
    (environment / "bin").mkdir(parents=True)
    write_script(environment / "bin/python", log)
    if uv is not None:
        write_script(tools / "uv", log, uv)
    own = {"VIRTUAL_ENV": str(environment), "PATH": str(tools)}
    subprocess.run(["make", "set-up"], cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    lines = log.read_text().replace("python -m pip", "pip").splitlines()
    assert [line.split()[0] for line in lines] == installers
    if uv is None:
        assert lines.pop(0).endswith(" uv")
    assert all(line.endswith("--constraint constraints.txt --editable .[test]") for line in lines)
    assert (environment / ".avlib-set-up").read_text() == f"{ROOT}\n"


def test_an_environment_is_set_up_once_and_anew_where_it_is_half_made_or_its_folder_has_moved(tools, tmp_path):
    folder, log = tmp_path / "my workbook ü", tmp_path / "log"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    for name in ("mkdir", "cp"):
        (tools / name).symlink_to(shutil.which(name))
    for name in ("uv", "avlib", "python"):
        write_script(tools / name, log)
    make = 'test "$1" != -m || { mkdir -p .venv/bin; cp "${0}" .venv/bin/python; : > .venv/bin/activate; }'
    write_script(tools / "python3", log, then=make)

    def demo() -> list[str]:
        log.write_text("")
        command = ["make", "demo"]
        subprocess.run(command, cwd=folder, env={"PATH": str(tools)}, capture_output=True, text=True, check=True)
        return [line for line in log.read_text().splitlines() if not line.startswith("python3 -c")]

    def anew() -> list[str]:
        environment = folder / ".venv"
        options = "--constraint constraints.txt --editable .[test]"
        install = f"uv pip install --quiet --python {environment}/bin/python {options}"
        return [f"python3 -m venv --clear {environment}", install, "avlib run params/demo.yaml"]

    assert demo() == anew()
    assert demo() == anew()[2:]
    os.utime(folder / "pyproject.toml", (time.time() + 9, time.time() + 9))
    assert demo() == anew()[1:]
    shutil.copy(ROOT / "pyproject.toml", folder)
    os.utime(folder / "pyproject.toml", (1, 1))
    (folder / ".venv/.avlib-set-up").unlink()
    assert demo() == anew()[1:], "an environment of one's own is kept"
    (folder / ".venv/.avlib-set-up").unlink()
    (folder / ".venv/bin/activate").unlink()
    assert demo() == anew()
    folder = folder.rename(tmp_path / "elsewhere")
    assert demo() == anew()


def test_papermill_starts_without_a_warning_about_encryption(tmp_path):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    (source,) = [key for key, place in settings["shared-data"].items() if place.endswith("ipython_kernel_config.py")]
    (tmp_path / "profile_default").mkdir()
    shutil.copy(ROOT / source, tmp_path / "profile_default" / "ipython_kernel_config.py")
    notebook = tmp_path / "notebook.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")]), notebook)
    command = [sys.executable, "-m", "papermill", "--kernel", "python3", str(notebook), str(tmp_path / "done.ipynb")]
    done = subprocess.run(command, env=os.environ | {"IPYTHONDIR": str(tmp_path)}, capture_output=True, text=True)
    assert "encryption" not in done.stderr
    assert "ZeroDivisionError" in done.stderr, "what a notebook says is still heard"
