"""Every notebook as a reader meets it: as a text, through papermill from anywhere, and through the whole pipeline."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill as pm
import pytest
import torch
from in_process import without_kernels
from smoke_runs import SMOKE, run_smoke

from avlib import FUSIONS
from workbook import DATA, ROOT, InputError, load_run
from workbook.data.datasets import Corpus
from workbook.evaluate.metrics import metrics
from workbook.run.parameters import Parameters
from workbook.sweep.notebooks import run_pipeline
from workbook.train.batches import splits

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(path: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_has_no_outputs_and_leaves_the_computing_to_the_package(path):
    assert not any(cell.outputs or cell.execution_count for cell in cells(path, "code"))
    kinds = "".join(cell.cell_type[0] for cell in nbformat.read(path, as_version=4).cells)  # m(arkdown) and c(ode)
    sources = [cell.source for cell in cells(path, "code")]
    assert "ccc" not in kinds and kinds.startswith("mm")
    assert max(len(source.splitlines()) for source in sources[1:]) <= 20  # the first is a list of parameters
    assert sum(line.startswith(("def ", "class ")) for source in sources for line in source.splitlines()) <= 2
    first, second = cells(path, "code")[:2]
    assert first.metadata["tags"] == ["parameters"]
    assert re.search(r"(configure|open_run)\(globals\(\)", second.source)


def test_the_run_folder_holds_what_is_promised(smoke):
    assert re.fullmatch(r".*/toy/ia1-softhard-small_toy-[0-9a-f]{4}-epochs1-frames3/fold0-seed1", str(smoke))
    names = "preprocess.ipynb train.ipynb evaluate.ipynb attention.ipynb run.json history.csv model.safetensors"
    names += " checkpoint.pt predictions.parquet metrics.json figures/attention-clip.png figures/confusion.png"
    for name in names.split():
        assert (smoke / name).stat().st_size, name
    record = json.loads((smoke / "run.json").read_text())
    assert record["parameters"]["frames"] == SMOKE["frames"] and set(record["seconds"]) >= {"train", "evaluate"}


def test_the_metrics_are_those_of_the_predictions_and_the_true_cues_are_measured(smoke):
    written, predictions = (smoke / "metrics.json").read_text(), pd.read_parquet(smoke / "predictions.parquet")
    written = json.loads(written)
    assert written == json.loads(json.dumps(metrics(predictions)))
    assert set(predictions.actor) == {5, 10, 16, 19}
    shares = pd.read_csv(smoke / "attention_shares.csv")  # of attention inside the true cues
    assert set(shares.modality) == {"audio", "video"} and shares.share.between(0, 1).all()


def test_the_saved_model_is_the_one_that_made_the_predictions(smoke, small_toy):
    store = Corpus("toy", small_toy, frames=SMOKE["frames"], image_size=SMOKE["image_size"]).open_store()
    test = splits(store, 0, 8, ("audio", "video"))["test"]
    audio, video, _ = test[torch.arange(5)]
    with torch.inference_mode():
        ours = load_run(smoke)(audio, video).logits.softmax(dim=1).numpy()
    predictions = pd.read_parquet(smoke / "predictions.parquet").query("condition == 'AV'")[:5]
    np.testing.assert_allclose(ours, predictions.filter(regex=r"^p\d").to_numpy(), atol=1e-5)


def test_one_branch_alone_and_another_fold_scheme_run(small_toy, tmp_path):
    given = {"fusion": "audio", "dropout": "none", "fold_scheme": "loso", "fold": 23}
    with without_kernels():
        folder = run_smoke(small_toy, tmp_path, ("train", "evaluate", "attention"), **given)
    scores = json.loads((folder / "metrics.json").read_text())["conditions"]
    assert folder.name == "loso-fold23-seed1"
    assert set(pd.read_parquet(folder / "predictions.parquet").actor) == {24}
    assert scores["AV"] == scores["A"] and "V" not in scores  # without sound the audio branch has nothing to go by
    assert not (folder / "attention.ipynb").exists()


@pytest.mark.parametrize("fusion", ["ia", "concat"])
def test_the_explorer_runs_without_a_browser_and_writes_nothing(fusion, smoke, small_toy, tmp_path):
    run = smoke
    if fusion != "ia":
        with without_kernels():
            run = run_smoke(small_toy, tmp_path, ("train",), fusion=fusion, dropout="none")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with without_kernels():
        pm.execute_notebook(ROOT / "notebooks/explorer.ipynb", None, {"run": str(run)}, progress_bar=False)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


OWN_FUSION = """
import torch
from torch import nn
from avlib.fusion import FUSIONS, Fusion

class Loudness(Fusion):
    widths = (1,)

    def after_stage2(self, audio, video):
        loud = audio.square().mean(dim=1).softmax(dim=-1) * audio.shape[-1]
        return audio * loud[:, None], video, {"audio": loud}

FUSIONS["loudness"] = Loudness
"""


def test_a_fusion_written_in_a_notebook_trains_and_shows_its_vectors_without_maps(small_toy, tmp_path, monkeypatch):
    monkeypatch.setitem(FUSIONS, "loudness", None)  # taken away again after the test
    given = SMOKE | {"fusion": "loudness", "dropout": "none", "data_root": str(small_toy)}
    given["outputs_root"] = str(tmp_path)
    with without_kernels():
        for name in ("train", "evaluate", "attention"):
            notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
            notebook.cells.insert(0, nbformat.v4.new_code_cell(OWN_FUSION))
            source = tmp_path / f"{name}.ipynb"
            nbformat.write(notebook, source)
            declared = {key: value for key, value in given.items() if key in pm.inspect_notebook(source)}
            pm.execute_notebook(source, None, parameters=declared, progress_bar=False)
            given |= {"run": str(next(tmp_path.rglob("run.json")).parent)}
    (vectors,) = tmp_path.rglob("attention.npz")
    assert set(np.load(vectors).files) == {"clip", "audio", "audio_times"}
    assert not list(tmp_path.rglob("attention-maps.png"))


def papermill(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "papermill", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=os.environ | {"AVLIB_DATA": str(DATA)})


def test_papermill_trains_from_another_working_directory(small_toy, tmp_path):
    given = {**SMOKE, "fusion": "audio", "dropout": "none", "data_root": small_toy, "outputs_root": tmp_path}
    options = [text for name, value in given.items() for text in ("-p", name, str(value))]
    done = papermill("train.ipynb", str(tmp_path / "train.ipynb"), *options, cwd=ROOT / "notebooks")
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(tmp_path.glob("toy/audio1-none-*/fold0-seed1/model.safetensors"))


def test_papermill_ends_with_one_sentence_and_leaves_no_run_folder(tmp_path):
    source, out = str(ROOT / "notebooks" / "train.ipynb"), str(tmp_path / "out.ipynb")
    done = papermill(source, out, "-p", "outputs_root", str(tmp_path / "runs"), "-p", "heads", "3")
    sentence = "heads is 3, which does not divide the attention width of fusion 'ia' (64 and 128)"
    assert done.returncode != 0 and sentence in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "runs").exists()


def test_a_missing_store_of_real_data_is_one_sentence_that_names_the_command(tmp_path):
    (tmp_path / "real").mkdir()
    given = {"dataset": "ravdess", "data_root": str(tmp_path / "real"), "outputs_root": str(tmp_path / "runs")}
    with pytest.raises(InputError, match=r"make it with: papermill notebooks/preprocess.ipynb .* -p dataset ravdess"):
        run_pipeline(Parameters(**given), notebooks=["train"])


@pytest.mark.parametrize("kept, has", [("03-*", (True, False)), ("01-*", (True, True)), ("cut short", (True, True))])
def test_an_incomplete_or_damaged_corpus_is_preprocessed_and_shown(kept, has, small_toy, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for path in sorted((small_toy / "Actor_03").glob("*" if kept == "cut short" else kept))[:6]:
        shutil.copy(path, corpus)
    if kept == "cut short":
        first = min(corpus.glob("01-*"))
        first.write_bytes(first.read_bytes()[:5000])
    with without_kernels():
        folder = run_smoke(corpus, tmp_path / "outputs", ("preprocess",), dataset="ravdess")
    assert "spectrogram" in (folder / "preprocess.ipynb").read_text()
    store = Corpus("ravdess", corpus, frames=SMOKE["frames"], image_size=SMOKE["image_size"]).open_store()
    assert (store.clips.has_audio.any(), store.clips.has_video.any()) == has
    assert len(store.problems) == (kept == "cut short")
