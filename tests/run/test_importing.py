"""Files of weights as run folders: those of the authors on real clips, our own, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
import torch
from click.testing import CliRunner
from in_process import without_kernels
from safetensors.torch import save_file

from avlib import authors_state_dict, build_model
from workbook import ROOT, InputError, open_trained
from workbook.cli import main
from workbook.data.datasets import Corpus
from workbook.evaluate.conditions import paper_conditions
from workbook.evaluate.evaluation import logits
from workbook.run.importing import TRAINING, import_network
from workbook.run.own_clip import predictor_of
from workbook.run.record import read_record
from workbook.run.results import all_runs

TOY = {"dataset": "toy", "image_size": 64, "frames": 3}  # of the smoke run


def avlib(*arguments) -> str:
    """The output of a command that succeeds."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def refusal(*arguments) -> str:
    """The line of a command that is refused."""
    done = CliRunner().invoke(main, ["import", *map(str, arguments)])
    assert done.exit_code == 2 and done.output.count("\n") == 1, done.output
    return done.output


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A file in the authors' format, with made-up weights."""
    path = tmp_path_factory.mktemp("released") / "it.pth"
    weights = authors_state_dict(build_model("it", heads=4))
    torch.save({"epoch": 9, "state_dict": {f"module.{name}": value for name, value in weights.items()}}, path)
    return path


@pytest.fixture(scope="module")
def weights(smoke, tmp_path_factory) -> Path:
    """The weights of a run, without its record."""
    path = tmp_path_factory.mktemp("sent") / "model.safetensors"
    path.write_bytes((smoke / "model.safetensors").read_bytes())
    return path


# the authors' networks on real clips


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    """A corpus of the two clips with known answers, and sounds of people who train and validate; the answers.

    The faces are those of the answers. So is the sound of the first clip, as the authors' script has left it; of the
    second there is another file, with MFCCs up to 6 away, so those of the answers go into the store in their place.
    """
    theirs, root = np.load(shared / "parity/real/authors_outputs.npz"), tmp_path_factory.mktemp("ravdess")
    first, second = (clip[2:] for clip in theirs["clips"])
    sounds = [shared / f"ravdess/Actor_{actor:02d}/03-01-03-01-01-02-{actor:02d}.flac" for actor in (1, 11)]
    sounds += [
        shared / f"ravdess_authors_preprocessed/03{first}_croppad.wav",
        shared / f"ravdess/Actor_05/03{second}.flac",
    ]
    for sound in sounds:
        (root / sound.name).symlink_to(sound)
    for clip, faces in zip(theirs["clips"], theirs["faces_uint8_bgr"], strict=True):
        np.save(root / f"{clip}_facecroppad.npy", faces)
    store = Corpus("ravdess", root, 15, 224, protocol="authors").preprocess(workers=1, progress=False)
    row = store.clips.index[store.clips["clip"] == second[1:]][0]
    np.load(store.path / "mfcc.npy", mmap_mode="r+")[row] = theirs["mfcc"][1]
    return root, theirs


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.shared
@pytest.mark.parametrize("system", ["lt1", "it1", "ia1", "ia4"])
def test_evaluate_and_predict_say_of_real_clips_what_the_authors_code_said(system, real, shared, tmp_path):
    root, theirs = real
    path, out = shared / f"parity/real/authors_{system}.pth", tmp_path / "run"
    avlib("import", path, "--out", out, "--heads", system[2:], "--data-root", root)
    run = open_trained(out, device="cpu")
    assert run.parameters.fusion == system[:2]
    assert list(run.test.table["clip"]) == [name[3:] for name in theirs["clips"]]
    names = {"AV": "logits", "A": "logits_audio_only", "V": "logits_video_only"}
    expected = {condition: theirs[f"{system}/{name}"] for condition, name in names.items()}
    for condition, values in logits(run.network, run.test, paper_conditions("none")[:3], seed=1).items():
        close(values.numpy(), expected[condition])
    for row, clip in enumerate(run.test.table.itertuples()):
        answers = predictor_of(run)(clip.video_path, clip.audio_path).middle()
        for condition, values in expected.items() if row == 0 else [("V", expected["V"])]:
            probable = torch.as_tensor(values[row]).softmax(dim=0)
            np.testing.assert_allclose(answers.loc[condition], probable, rtol=0, atol=1e-4)


# what an imported network says


def test_what_a_checkpoint_does_not_tell_is_said_wherever_it_is_shown(checkpoint, tmp_path):
    out = tmp_path / "ravdess" / "it-imported" / "fold0-seed-unknown"
    said = avlib("import", checkpoint, "--out", out)
    run, record = open_trained(out, device="cpu"), read_record(out)
    assert record.imported.assumed == ["heads"] and record.imported.unknown == list(TRAINING)
    assert (run.parameters.protocol, run.parameters.fold_scheme, run.parameters.fold) == ("authors", "authors", 0)
    unknown = "Assumed: heads 1. Unknown: what it has learnt from, pretrained, frame_epochs, "
    assert all(unknown in text for text in (said, repr(run), " ".join(run.card.sentences())))
    assert "heads          1 (assumed)" in repr(run) and "epochs         unknown" in repr(run)
    assert run.parameters.dropout == "unknown" and "epochs <code>unknown" in run._repr_markdown_()
    assert "tested on RAVDESS. It was imported from it.pth." in run.card.about()[0]
    row = all_runs(tmp_path).iloc[0]
    assert (row["state"], row["dropout"], row["system"]) == ("imported, not evaluated", "unknown", "IT1")
    assert row[["epochs", "seed", "learning_rate", "minutes"]].isna().all() and "heads-assumed" in row["settings"]
    listed = avlib("runs", tmp_path)
    assert "imported, not evaluated" in listed and "unknown" in listed
    avlib("import", checkpoint, "--out", tmp_path / "four", "--heads", 4, "-p", "dropout", "softhard")
    told = read_record(tmp_path / "four")
    assert told.network["heads"] == 4 and not told.imported.assumed and "dropout" not in told.imported.unknown


def test_weights_of_a_run_become_a_run_that_every_notebook_reads(weights, smoke, small_toy, tmp_path):
    out, given = tmp_path / "run", [word for pair in TOY.items() for word in ("-p", *pair)]
    avlib("import", weights, "--out", out, "--data-root", small_toy, *given)
    assert read_record(out).imported.assumed == ["heads", "protocol", "fold_scheme", "fold", "audio_features"]
    assert read_record(out).fingerprint == "" and read_record(out).network == read_record(smoke).network
    with without_kernels():
        run = {"run": str(out), "device": "cpu"}
        papermill.execute_notebook(ROOT / "notebooks/evaluate.ipynb", None, run, progress_bar=False)
    ours, theirs = (pd.read_parquet(folder / "predictions.parquet") for folder in (out, smoke))
    pd.testing.assert_frame_equal(ours, theirs, atol=2e-6)  # the kernel may have had another number of threads
    record = read_record(out)
    assert record.fingerprint == read_record(smoke).fingerprint, "its data are those of its first test"
    assert record.material is None and record.state == "done"
    assert read_record(smoke).material == (128, 16, 128), "clips, people, clips with both: known of a run of ours"
    assert "if it was trained on this split" in open_trained(out).card.about()[1]


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ({"fusion": "cma", "heads": 2, "dense_head": True}, {"heads": 2, "dataset": "toy"}),
        ({"fusion": "mult", "learned_stand_ins": True}, {"dataset": "toy"}),
        ({"fusion": "video", "vision": "timm:mobilenetv4_conv_small"}, {"vision": "timm:mobilenetv4_conv_small"}),
        ({"fusion": "audio", "classes": 7}, {}),
        ({"fusion": "ia", "even_attention": True}, {}),
    ],
)
def test_the_system_is_read_from_weights_of_ours(settings, values, tmp_path):
    net = build_model(**{"image_size": 64} | settings)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    record = import_network(tmp_path / "net.safetensors", tmp_path / "run", {"dataset": "toy"} | values)
    assert settings.items() - {("heads", 1)} <= record.network.items()
    assert len(record.labels) == settings.get("classes", 8)
    opened = open_trained(tmp_path / "run", device="cpu").network
    assert all(torch.equal(value, opened.state_dict()[name]) for name, value in net.state_dict().items())


# what is refused


def test_what_is_no_network_is_one_sentence_and_leaves_nothing(checkpoint, weights, smoke, tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, tmp_path / "other.pth")
    out, toy = tmp_path / "run", ["-p", "dataset", "toy"]
    refused = {
        "text.pth is damaged or no checkpoint": [tmp_path / "text.pth"],
        "holds neither a checkpoint of the authors nor": [tmp_path / "other.pth"],
        "heads is 3, which does not divide": [checkpoint, "--heads", 3],
        "fusion is lt, but": [checkpoint, "-p", "fusion", "lt"],
        "does not say what it was trained on: give -p dataset": [weights],
        "dataset is mosei, but the network of": [weights, "-p", "dataset", "mosei"],
        "did you mean 'epochs'": [weights, *toy, "-p", "epoch", 3],
        "lies in the folder of its run": [smoke / "model.safetensors", *toy],
    }
    for sentence, arguments in refused.items():
        assert sentence in refusal(*arguments, "--out", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.pth", "text.pth"]
    out.mkdir()
    assert "is there already: give a new folder" in refusal(checkpoint, "--out", out)
    assert not list(out.iterdir())


def test_a_record_of_an_import_is_checked_as_any_other(checkpoint, tmp_path):
    import_network(checkpoint, tmp_path / "run", {})
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"imported": {"file": 3}}))
    with pytest.raises(InputError, match=r"is damaged \(imported"):
        read_record(tmp_path / "run")
