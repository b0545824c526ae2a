import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

SIDE_BY_SIDE = "PYTEST_XDIST_WORKER" in os.environ  # True in each of the processes of `pytest -n`
if SIDE_BY_SIDE:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # these share the cores already
else:
    os.environ["AVLIB_DATA"] = tempfile.mkdtemp(prefix="avlib-tests-")  # all corpora and stores of the tests
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched, nor tried for most of a minute
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in the background without Ctrl-C

import numpy as np
import pandas as pd
import pytest
import yaml
from browser import window
from smoke_runs import run_smoke

import workbook
from workbook.data.store import PROBLEM_COLUMNS, Store, new_draft, write_store
from workbook.files import folder_lock


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items) -> None:
    """With `--dist loadgroup`, tests that share what takes long to make stay in one process: mostly those of a file.

    Tests that take minutes are skipped unless `-m slow` asks for them.
    """
    for item in items:
        if item.get_closest_marker("slow") and "slow" not in config.option.markexpr:
            item.add_marker(pytest.mark.skip(reason="takes minutes: -m slow"))
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("smoke" if "smoke" in item.fixturenames else item.path.stem))


def pytest_unconfigure() -> None:
    if not SIDE_BY_SIDE:
        shutil.rmtree(os.environ["AVLIB_DATA"], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def quick_workers():
    """Processes that prepare or draw clips are forks of one that has imported what they need, which takes seconds.

    Scripts and kernels that tests start have fresh ones, as users do.
    """
    from multiprocessing import get_context

    from workbook.data import prepare
    from workbook.toy import clip_files

    context = get_context("forkserver")
    context.set_forkserver_preload(["workbook.data.mtcnn", "workbook.toy.corpus", "librosa.feature.spectral"])
    with pytest.MonkeyPatch.context() as patch:
        for module in (prepare, clip_files):
            patch.setattr(module, "get_context", lambda method: context)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and of the original code's outputs, where this machine has it."""
    folder = Path(os.environ.get("AVLIB_SHARED", workbook.ROOT.parent / "shared"))
    if not (folder / "ravdess").is_dir():
        pytest.skip(f"no real material at {folder}; AVLIB_SHARED can name another folder")
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB, which a function makes read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory) -> Store:
    """48 clips of random numbers (6 actors, 8 labels, 3 frames of 64 pixels) whose label both modalities tell."""
    path = tmp_path_factory.mktemp("tiny") / "store"
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(8), 6)
    faces = rng.integers(0, 40, (48, 3, 64, 64, 3), dtype=np.uint8)
    mfcc = rng.standard_normal((48, 10, 156)).astype(np.float32)
    for row, label in enumerate(labels):
        faces[row, :, 8 * label : 8 * label + 8] += 200
        mfcc[row, label] += 3
    clips = pd.DataFrame({"clip": [f"clip{row:02d}" for row in range(48)], "actor": np.repeat(range(1, 7), 8)})
    clips = clips.assign(label=labels, has_audio=True, has_video=True)
    problems = pd.DataFrame(columns=PROBLEM_COLUMNS)
    draft = new_draft(path)
    np.save(draft / "faces.npy", faces)
    np.save(draft / "mfcc.npy", mfcc)
    manifest = {"fingerprint": "0123456789ab", "arrays": {"video": "faces", "audio": "mfcc"}}
    return write_store(path, clips, problems, manifest)


@pytest.fixture(scope="session")
def small_toy() -> Path:
    """A toy corpus of all 24 actors with one take of each emotion: 192 clips, made once for all processes."""
    from workbook.toy.corpus import make_corpus

    root = workbook.DATA / "small_toy"
    with folder_lock(root):
        make_corpus(root, takes=1, progress=False)
    return root


@pytest.fixture(scope="session")
def smoke(small_toy, tmp_path_factory) -> Path:
    """The run folder of the smoke settings after all four notebooks; three folders above it is its outputs_root."""
    return run_smoke(small_toy, tmp_path_factory.mktemp("outputs"), ("preprocess", "train", "evaluate", "attention"))


@pytest.fixture
def page():
    """A window of chromium; `page.wrong` lists what is wrong in its console."""
    with window() as page:
        yield page


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    """A file of 60 clips of 12 people with three classes."""
    path, rng = tmp_path_factory.mktemp("features") / "mine.npz", np.random.default_rng(0)
    label = np.arange(60) % 3
    audio, video = rng.standard_normal((60, 5, 31)) + label[:, None, None], rng.standard_normal((60, 7, 29))
    np.savez(path, audio=audio, video=video, label=label, group=np.arange(60) // 5)
    return path


@pytest.fixture
def grid(features, tmp_path):
    """Writes a file with the grid, some of its values changed, and returns its path."""

    from sweeps import GRID

    def write(name="grid.yaml", **changes):
        own = {"data_root": str(features), "outputs_root": str(tmp_path / "runs"), "device": "cpu"}
        (tmp_path / name).write_text(yaml.safe_dump(GRID | own | changes))
        return tmp_path / name

    return write


@pytest.fixture(scope="module")
def quiet(features, tmp_path_factory) -> pd.DataFrame:
    """The table of the grid after a sweep that nothing has disturbed."""
    from in_process import without_kernels
    from sweeps import GRID, table

    from workbook.sweep.grid import plan
    from workbook.sweep.sweep import Sweep

    runs = plan(GRID | {"data_root": str(features), "device": "cpu", "outputs_root": str(tmp_path_factory.mktemp("q"))})
    with without_kernels():
        return table(outcome.folder for outcome in Sweep(runs).run())
