"""Every system on both toy corpora, trained, evaluated and looked into by its notebooks, at smoke settings."""

import json
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
from in_process import without_kernels
from smoke_runs import SMOKE, run_smoke

from avlib import FUSIONS
from workbook import ROOT, InputError, load_run
from workbook.evaluate.metrics import metrics
from workbook.toy import mosei

NOTEBOOKS = ("train", "evaluate", "attention")
RUNS = [
    pytest.param(dataset, fusion, marks=pytest.mark.xdist_group(f"{fusion} on {dataset}"))
    for dataset, fusion in [*product(["toy"], ["ia", "video"]), *product(["toy_mosei"], FUSIONS)]
]  # what a fusion gets of frames is the same for all: their descriptors
OF_FEATURES = {"image_size": 0, "frames": 0}  # settings that are about films alone


@pytest.fixture(scope="session")
def folders(small_toy, tmp_path_factory):
    """Gives the run folder of a system on a corpus, made when it is first asked for."""
    outputs = tmp_path_factory.mktemp("systems")
    small_mosei = outputs / "mosei_senti_data.pkl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mosei, "VIDEOS", {"train": 20, "valid": 6, "test": 6})
        mosei.make_pickle(small_mosei)

    @cache
    def run(dataset: str, fusion: str) -> Path:
        corpus, given = (small_toy, {}) if dataset == "toy" else (small_mosei, {"batch_size": 64} | OF_FEATURES)
        with without_kernels():
            return run_smoke(corpus, outputs, NOTEBOOKS, dataset=dataset, fusion=fusion, dropout="none", **given)

    return run


@pytest.mark.parametrize("dataset, fusion", RUNS)
def test_every_system_trains_is_evaluated_shows_its_attention_and_comes_back(folders, dataset, fusion):
    folder = folders(dataset, fusion)
    assert np.isfinite(pd.read_csv(folder / "history.csv").select_dtypes("number").to_numpy()).all()
    written = json.loads((folder / "metrics.json").read_text())
    reads = {"audio": {"AV", "A"}, "video": {"AV", "V"}}
    assert set(written["conditions"]) >= reads.get(fusion, {"AV", "A", "V"})
    assert written == json.loads(json.dumps(metrics(pd.read_parquet(folder / "predictions.parquet"))))
    assert ("M" in written) and bool(written["M"]) == (fusion not in ("audio", "video"))
    assert ("mae" in written["conditions"]["AV"]) == (dataset == "toy_mosei")

    net = load_run(folder)
    assert type(net.fusion) is FUSIONS[fusion] and not net.training
    assert net.classifier.out_features == (8 if dataset == "toy" else 1)
    if not FUSIONS[fusion].widths:
        assert not (folder / "attention.ipynb").exists()
        return
    for name in ("attention-clip.png", "attention-maps.png", "attention-by-emotion.png"):
        assert (folder / "figures" / name).stat().st_size > 2000
    received = np.load(folder / "attention.npz")
    looked_at = {"tav": {"audio"}, "tva": {"video"}}.get(fusion, {"audio", "video"})
    assert {"audio", "video"} & set(received.files) == looked_at
    shares = pd.read_csv(folder / "attention_shares.csv")
    assert set(shares.modality) == looked_at and shares.share.dropna().between(0, 1).all()


def ask_whether_attention_is_faithful(folder: Path, **parameters) -> dict:
    """What faithfulness.ipynb saved about a run, at settings that take seconds."""
    given = {"run": str(folder), "clips": 8, "segments": 4, "draws": 1} | parameters
    with without_kernels():
        papermill.execute_notebook(ROOT / "notebooks" / "faithfulness.ipynb", None, given, progress_bar=False)
    return json.loads((folder / "faithfulness.json").read_text())


FAITHFUL = [run for run in RUNS if run.values in {("toy", "ia"), ("toy_mosei", "tva"), ("toy_mosei", "mult")}]


@pytest.mark.parametrize("dataset, fusion", FAITHFUL)
def test_a_system_that_attends_is_asked_whether_its_answers_depend_on_it(folders, dataset, fusion):
    folder = folders(dataset, fusion)
    found = ask_whether_attention_is_faithful(folder, baseline="zeros")
    curves = pd.read_parquet(folder / "faithfulness.parquet")
    assert curves["clip"].nunique() == 8 and np.isfinite(curves["score"]).all()
    areas = pd.DataFrame(found["areas"]).set_index(["modality", "order"])
    attended = {name for name, order in areas.index if order == "attention"}
    assert attended == ({"video"} if fusion == "tva" else {"audio", "video"})
    assert {order for _, order in areas.index} == {"attention", "integrated gradients", "leave one out", "random"}
    assert {"agreement", "shuffled", "changed", "cue", "differences"} <= set(found)
    assert set(found["sentences"]) == {"order", "agreement", "shuffled", "changed", "needed", "cue"}
    for name in ("", "-agreement", "-shuffled", "-changed", "-runs"):
        assert (folder / "figures" / f"faithfulness{name}.png").stat().st_size > 2000


def test_without_attention_there_is_nothing_to_ask(folders):
    with pytest.raises(InputError, match="AudioOnly has no attention: choose fusion lt"):
        ask_whether_attention_is_faithful(folders("toy_mosei", "audio"))


@pytest.fixture(scope="module")
def own_features(small_toy, tmp_path_factory) -> Path:
    """An .npz as a user makes one, from the toy corpus: mean colours in a 4 x 4 grid over the face, and MFCCs."""
    from workbook.data.datasets import Corpus

    store = Corpus("toy", small_toy, frames=SMOKE["frames"], image_size=SMOKE["image_size"]).open_store()
    N, Tv, S = store.video.shape[:3]
    colours = np.asarray(store.video, np.float32).reshape(N, Tv, 4, S // 4, 4, S // 4, 3).mean(axis=(3, 5))
    path = tmp_path_factory.mktemp("own") / "toy.npz"
    label, group = store.clips.emotion.to_numpy(str), store.clips.actor
    np.savez(path, audio=store.audio, video=colours.reshape(N, Tv, -1).transpose(0, 2, 1), label=label, group=group)
    return path


def test_features_of_ones_own_are_learnt_on_ravdess_folds(own_features, tmp_path):
    given = {"dataset": "features", "fold_scheme": "paper", "epochs": 16, "batch_size": 0} | OF_FEATURES
    with without_kernels():
        folder = run_smoke(own_features, tmp_path, NOTEBOOKS, dropout="none", **given)
    assert folder.match("features/ia1-none-toy-????-epochs16/paper-fold0-seed1")
    scores = json.loads((folder / "metrics.json").read_text())["conditions"]["AV"]
    assert scores["clips"] == 32 and scores["accuracy"] > 3 * 100 / 8, "three times what guessing earns"
    assert set(pd.read_parquet(folder / "predictions.parquet").actor) == {5, 10, 16, 19}
    assert (folder / "figures" / "attention-clip.png").exists()


def test_a_video_of_one_step_has_no_order_and_the_sound_is_judged_alone(tmp_path):
    rng, label = np.random.default_rng(0), np.arange(60) % 2
    audio = rng.standard_normal((60, 5, 33)).astype(np.float32) + label[:, None, None]
    video = rng.standard_normal((60, 7, 1)).astype(np.float32) + label[:, None, None]
    path = tmp_path / "own.npz"
    np.savez(path, audio=audio, video=video, label=np.array(["no", "yes"])[label], group=np.arange(60) // 6)
    given = {"dataset": "features", "epochs": 1, "batch_size": 16} | OF_FEATURES
    with without_kernels():
        folder = run_smoke(path, tmp_path / "runs", ("train", "attention"), dropout="none", **given)
    found = ask_whether_attention_is_faithful(folder)
    assert {row["modality"] for row in found["areas"]} == {"audio"}
    assert {row["change"] for row in found["changed"]} >= {"audio deleted", "video deleted"}
    assert "cue" not in found, "real data: nobody knows"


def test_other_audio_features_and_another_vision_network_run(small_toy, tmp_path):
    given = {
        "audio_features": "logmel",
        "vision": "timm:mobilenetv4_conv_small",
        "train_vision": False,
        "dropout": "none",
    }
    with without_kernels():
        folder = run_smoke(small_toy, tmp_path, ("train", "evaluate"), **given)  # the store is made on the way
    assert folder.parent.name.startswith("ia1-logmel-mobilenetv4_conv_small-frozen-none-")
    network = json.loads((folder / "run.json").read_text())["network"]
    assert network["audio_channels"] == 64 and load_run(folder).frame_network.name == "mobilenetv4_conv_small"
    assert json.loads((folder / "metrics.json").read_text())["conditions"]["AV"]["clips"] == 32
