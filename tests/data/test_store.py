"""The store: whole or not there, the same however it came about, and never made twice."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from itertools import product

import numpy as np
import pandas as pd
import psutil
import pytest

from workbook import InputError
from workbook.data import build as building
from workbook.data import prepare
from workbook.data.audio import log_mel
from workbook.data.build import CLIP_COLUMNS, build_store
from workbook.data.datasets import Corpus
from workbook.data.media import read_audio
from workbook.data.prepare import prepare_clip
from workbook.data.ravdess import find_trials
from workbook.data.store import Store
from workbook.data.window import cut_window
from workbook.toy import corpus as toy

SETTINGS = {"frames": 3, "image_size": 16}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six clips of two drawn actors, two of them sound alone, and one whose only file is empty: it sorts first."""
    root = tmp_path_factory.mktemp("corpus")
    clips = [toy.plan_clip(0, actor, emotion, 0) for actor in (3, 8) for emotion in ("calm", "happy", "angry")]
    for clip in clips:
        clip.write(root)
    for clip in clips[1::3]:
        clip.path(root, "mp4").unlink()
    (root / "03-01-01-01-01-01-01.wav").touch()
    return root


@pytest.fixture(scope="module")
def made(root, tmp_path_factory):
    """The store of that corpus."""
    return build(tmp_path_factory.mktemp("stores") / "made", root)


@pytest.fixture(scope="module")
def voices(root, tmp_path_factory):
    """The sounds alone, as a corpus of their own: no detector to load, so many stores of it can be made."""
    voices = tmp_path_factory.mktemp("voices")
    for wav in root.rglob("*.wav"):
        shutil.copy2(wav, voices)
    return voices


@pytest.fixture(scope="module")
def voice_store(voices, tmp_path_factory):
    """The store of the sounds alone."""
    return build(tmp_path_factory.mktemp("stores") / "voice_store", voices)


def build(path, root, **settings):
    return build_store(path, *find_trials(root), **SETTINGS | {"workers": 1, "progress": False} | settings)


def content(path):
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def prepared_from_now_on(monkeypatch):
    """The numbers of the clips that are prepared, as they come."""
    numbers, prepare_all = [], prepare.prepare_all
    watched = lambda jobs, *rest, **more: numbers.extend(jobs) or prepare_all(jobs, *rest, **more)  # noqa: E731
    monkeypatch.setattr(prepare, "prepare_all", watched)
    return numbers


def test_a_store_has_one_row_per_usable_clip_in_the_order_of_their_names(made):
    assert list(made.clips.columns) == CLIP_COLUMNS
    assert list(made.clips["clip"]) == sorted(made.clips["clip"])
    assert made.video.shape == (6, 3, 16, 16, 3) and made.video.dtype == np.uint8
    assert made.audio.shape == (6, 10, 156) and made.audio.dtype == np.float32
    assert len(made) == 6 and made.clips["has_audio"].all() and made.clips["has_video"].sum() == 4
    assert list(made.problems["clip"]) == ["01-01-01-01-01-01"]


def test_the_rows_of_the_arrays_are_those_of_their_clips(made):
    for row, trial in made.clips.iterrows():
        expected = prepare_clip(trial.to_dict(), 3, 16, "paper")
        np.testing.assert_allclose(made.audio[row], expected.audio, rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(made.video[row], 0 if expected.video is None else expected.video)
        assert (trial["video_sha256"] == "") == (trial["video_path"] == "")
        assert np.isnan(trial["face_confidence"]) == (not trial["has_video"])


def test_the_result_does_not_depend_on_the_number_of_workers(voice_store, voices, tmp_path):
    assert content(build(tmp_path / "two", voices, workers=2).path) == content(voice_store.path)


def test_a_corrected_label_takes_over_the_arrays_of_unchanged_files(made, root, tmp_path, monkeypatch):
    path, (trials, problems) = tmp_path / "store", find_trials(root)
    shutil.copytree(made.path, path)
    prepared = prepared_from_now_on(monkeypatch)
    changed = trials.assign(label=trials["label"].replace({trials["label"][3]: 7}))
    settings = SETTINGS | {"workers": 1, "progress": False}
    store = build_store(path, changed, problems, **settings)
    assert prepared == [0], "all but the clip with a problem are taken over"
    assert store.fingerprint != made.fingerprint and 7 in list(store.clips["label"])
    np.testing.assert_array_equal(store.video, made.video)
    np.testing.assert_array_equal(store.audio, made.audio)
    pd.testing.assert_frame_equal(store.clips.drop(columns="label"), made.clips.drop(columns="label"))
    back = build_store(path, trials, problems, **settings)
    assert back.fingerprint == build_store(path, trials, problems, **settings).fingerprint == made.fingerprint
    assert prepared == [0, 0], "a finished store is opened at once"


BUILD = """
import sys
from workbook.data.ravdess import find_trials
from workbook.data.build import build_store
build_store(sys.argv[1], *find_trials(sys.argv[2]), frames=3, image_size=16, workers=1, progress=False)
"""


def test_killed_in_the_middle_it_goes_on_where_it_was_and_ends_with_the_same_bytes(made, root, tmp_path, monkeypatch):
    path, journal = tmp_path / "killed", tmp_path / "killed.partial" / "journal.jsonl"
    process = subprocess.Popen([sys.executable, "-c", BUILD, path, root])
    while not (journal.exists() and journal.read_text().count("\n") >= 2):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = journal.read_text().count("\n")
    assert 2 <= done < 7 and not path.exists()

    begun = prepared_from_now_on(monkeypatch)
    assert content(build(path, root).path) == content(made.path)
    assert len(begun) == 7 - done
    assert children
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_an_unguarded_script_gets_one_sentence_and_does_not_wait_for_itself(voices, tmp_path):
    code = f"from workbook.data.datasets import Corpus\nCorpus('ravdess', r'{voices}', frames=2).preprocess(workers=1)"
    (tmp_path / "script.py").write_text(code)
    how = {"capture_output": True, "text": True, "env": os.environ | {"AVLIB_DATA": str(tmp_path / "data")}}
    done = subprocess.run([sys.executable, tmp_path / "script.py"], timeout=120, **how)
    assert done.returncode and "InputError: the processes that prepare clips cannot start" in done.stderr


@pytest.fixture
def unfinished(voices, tmp_path, monkeypatch):
    """The path of a store of the sounds alone, which is all but finished."""

    def stop(*_):
        raise KeyboardInterrupt

    path = tmp_path / "store"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(building, "write_store", stop)
        build(path, voices)
    assert not path.exists()
    return path


def test_a_torn_last_line_of_the_journal_is_done_again(unfinished, voice_store, voices):
    journal = unfinished.with_name("store.partial") / "journal.jsonl"
    os.truncate(journal, journal.stat().st_size - 5)
    assert content(build(unfinished, voices).path) == content(voice_store.path)


def test_an_unfinished_store_with_links_is_discarded_and_their_targets_stay(unfinished, voice_store, voices, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("all I have")
    for name in ("journal.jsonl", "mfcc.npy", "store/mfcc.npy"):
        (tmp_path / "store.partial" / name).unlink(missing_ok=True)
        (tmp_path / "store.partial" / name).symlink_to(precious)
    assert content(build(unfinished, voices).path) == content(voice_store.path)
    assert precious.read_text() == "all I have"


def test_killed_while_finishing_nothing_is_prepared_again(unfinished, voice_store, voices, monkeypatch):
    monkeypatch.setattr(prepare, "prepare_all", lambda jobs, *_, **__: None if jobs else ())
    assert content(build(unfinished, voices).path) == content(voice_store.path)
    assert not list(unfinished.parent.glob("*.partial"))


def test_the_fingerprint_knows_the_bytes_and_the_settings_and_not_the_place(voices, tmp_path):
    fingerprints = []
    for name, settings in (("a", {}), ("b", {}), ("c", {"frames": 4})):
        shutil.copytree(voices, tmp_path / name)
        fingerprints.append(build(tmp_path / f"{name}-store", tmp_path / name, **settings).fingerprint)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_the_fingerprint_is_the_same_on_windows(voice_store, voices, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "linesep", "\r\n")
    assert build(tmp_path / "store", voices).fingerprint == voice_store.fingerprint


def test_a_folder_that_is_no_store_is_neither_opened_nor_replaced(root, tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InputError, match="is not a store"):
        Store.open(tmp_path)
    with pytest.raises(InputError, match="is not a store"):
        build(tmp_path, root)
    assert (tmp_path / "holiday.jpg").exists()


def test_opening_a_store_brings_no_heavy_library(made):
    code = (
        "import sys, workbook.data.datasets; from workbook.data.store import Store; Store.open(sys.argv[1]).video[0];"
        "print(*{'torch', 'librosa', 'av', 'facenet_pytorch', 'soundfile', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, made.path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_stores_of_other_corpora_and_settings_lie_elsewhere():
    choices = ("toy", "ravdess"), (None, "/elsewhere"), (3, 5), (64, 96), ("mfcc", "logmel"), ("paper", "authors")
    assert len({Corpus(*place).store_path for place in product(*choices)}) == 2**6


def test_other_audio_features_have_an_array_of_their_own_name(voice_store, voices, tmp_path):
    made = build(tmp_path / "store", voices, audio_features="logmel")
    assert made.manifest["arrays"] == {"video": "faces", "audio": "logmel"}
    assert made.audio.shape == (len(voice_store), 64, 156) and made.audio.dtype == np.float32
    samples = cut_window(read_audio(made.clips["audio_path"][1]), made.clips["window_start"][1])
    np.testing.assert_allclose(made.audio[1], log_mel(samples), atol=1e-3)
    assert made.fingerprint != voice_store.fingerprint


def test_an_interruption_is_one_sentence_and_the_next_call_goes_on(voices, tmp_path):
    path = tmp_path / "store"
    journal = tmp_path / "store.partial" / "journal.jsonl"

    def interrupt():
        while not (journal.exists() and journal.stat().st_size):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(InputError, match=r"^stopped after \d+ of \d+ clips: run it again to go on$"):
        build(path, voices)
    kept = len(journal.read_text().splitlines())
    assert len(build(path, voices)) >= kept >= 1


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize(
    "name, damage, says",
    [
        ("clips.parquet", cut, "clips.parquet"),
        ("faces.npy", cut, "delete this folder"),
        ("clips.parquet", lambda file: pd.read_parquet(file).assign(label=0).to_parquet(file), "not as it was written"),
        ("mfcc.npy", lambda file: np.save(file, np.load(file).astype(np.float64)), "has shape .* and type float64"),
        ("manifest.json", cut, "delete this folder"),
        ("manifest.json", lambda file: file.write_text(file.read_text().replace("fingerprint", "x")), "'fingerprint'"),
    ],
)
def test_a_damaged_store_is_a_sentence_that_says_what_to_do(voice_store, tmp_path, name, damage, says):
    damaged = shutil.copytree(voice_store.path, tmp_path / "store")
    damage(damaged / name)
    with pytest.raises(InputError, match=says) as refused:
        Store.open(damaged)
    assert str(damaged) in str(refused.value) and "\n" not in str(refused.value)
    assert "delete this folder and have it made again" in str(refused.value)
