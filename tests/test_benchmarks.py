"""The plumbing of the benchmarks, at sizes that say nothing about speed."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

import benchmarks
import workbook
from benchmarks import Options, as_text, attribution, ceilings, describe, evaluate, explore, gpu, scale, sweep, train
from benchmarks.__main__ import NAMES, main
from benchmarks.peer import Peer
from benchmarks.timing import aim, in_turn
from workbook import ROOT

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
SMALL = {"image_size": 64, "frames": 2, "batch": 3, "rounds": 2}


@pytest.fixture(scope="module")
def peer() -> Path:
    """A checkout of the original code, where AVLIB_PEER names one."""
    if "AVLIB_PEER" not in os.environ:
        pytest.skip("AVLIB_PEER names no checkout of the original code")
    return Path(os.environ["AVLIB_PEER"])


def test_the_command_offers_every_benchmark_there_is():
    files = [path.stem for path in Path(benchmarks.__file__).parent.glob("*.py") if not path.stem.startswith("__")]
    measuring = {name for name in files if hasattr(import_module(f"benchmarks.{name}"), "measure")}
    assert measuring == set(NAMES)


def test_runs_take_turns_and_a_ratio_is_of_those_in_the_same_round():
    order = []
    runs = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    assert set(in_turn(runs, 2, count=5)["runs"]) == {"a", "b"}
    assert order == ["a", "b"] * 3
    times = {"a": iter([9.0, 1.0, 2.0, 4.0]), "b": iter([9.0, 3.0, 8.0, 4.0])}
    result = in_turn({name: lambda name=name: next(times[name]) for name in times}, 3, count=5)
    assert result["runs"]["a"]["seconds"] == {"median": 2.0, "lowest": 1.0, "highest": 4.0}
    assert result["runs"]["a"]["per_second"] == 2.5
    assert result["ratio"] == {"b": {"median": 3.0, "lowest": 1.0, "highest": 4.0}}


def test_a_step_is_a_step_and_its_sides_are_named():
    trainer = train.Trainer(frames=2, image_size=64, batch=3, device="cpu")
    before = trainer.net.classifier.weight.clone()
    trainer.step()
    assert not torch.equal(before, trainer.net.classifier.weight)
    assert list(train.measure(Options(**SMALL))["runs"]) == ["avlib"]


def test_a_benchmark_says_whether_it_reaches_its_aim():
    assert aim(6.04, 6, "times") == "6.04 times, aim at least 6: reached"
    assert aim(5.96, 6, "times") == "5.96 times, aim at least 6: not reached"
    assert aim(119, 120, "s", at_most=True) == "119 s, aim at most 120: reached"
    result = describe.measure(Options(**SMALL | {"clips": 3, "rounds": 1}))
    assert "aim at least 2.2:" in as_text({"benchmark": "describe"} | result)
    assert result["largest relative difference"] < 1e-5


def test_evaluation_and_attribution_are_timed_by_size_of_batch_and_method():
    result = evaluate.measure(Options(**SMALL | {"clips": 5, "rounds": 1, "batch": None}))
    assert list(result["runs"]) == ["avlib 8", "avlib 16", "avlib 32"] and set(result["accuracy"]) == {"AV", "A", "V"}
    fold = attribution.measure(Options(**SMALL | {"clips": 3, "rounds": 1}))["seconds for the fold"]
    assert list(fold) == ["describing the frames", *attribution.OF_DESCRIPTORS] and all(fold.values())


def test_the_explorer_is_timed_by_control(small_toy, monkeypatch):
    monkeypatch.setattr(explore, "PAUSE", 0.05)
    result = explore.measure(Options(**SMALL | {"clips": 3, "steps": 20}, data_root=small_toy))
    found = result["milliseconds of a step"]
    assert len(found) == 5 and all(found[name]["all"]["median"] > 0 for name in ("with pauses", "two networks"))


def test_growth_becomes_a_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "OUTPUTS", tmp_path)
    monkeypatch.setattr(scale, "alone", scale.epoch)  # six processes would take half a minute to start
    monkeypatch.setattr(scale, "SERIES", {"clips": (3, 5), "frames": (1, 2), "batch": (1, 2)})
    result = scale.measure(Options(clips=5))
    assert len(result["rows"]) == 6 and Path(result["figure"]).stat().st_size > 10_000


def test_the_floor_is_the_longer_of_computing_and_moving_and_its_share_is_of_what_a_step_takes():
    counts = {"operations": 6e12, "bytes": 8e9}
    assert ceilings.floor(counts, rate=2e12, width=1e9) == 8
    assert ceilings.floor(counts, rate=1e12, width=4e9) == 6
    one = torch.zeros(64, 64)
    found = ceilings.share(lambda: one @ one, seconds=3.0, device="cpu", bytes_=2**16, side=32)
    assert found["share of the floor"] == pytest.approx(found["floor in seconds"] / 3)


def test_the_command_prints_what_it_writes(tmp_path, capsys):
    out = tmp_path / "describe.json"
    given = ["--clips", "3", "--image-size", "64", "--frames", "2", "--rounds", "1", "--out", str(out)]
    main(["describe", *given])
    assert "times avlib's time" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["benchmark"] == "describe" and found["machine"]["versions"]["torch"] == torch.__version__.split("+")[0]


@pytest.mark.parametrize(
    "given, says",
    [
        (["preprocess", "--data-root", "{}"], "no mp4 file below"),
        (["train", "--peer", "{}"], "names a checkout of katerynaCh"),
        (["describe", "--image-size", "63"], "argument --image-size: 63 is below 64"),
        pytest.param(["train", "--device", "cuda"], "sees no GPU", marks=NO_GPU),
    ],
)
def test_what_is_missing_is_said(tmp_path, given, says, capsys):
    with pytest.raises(SystemExit):
        main([part.format(tmp_path) for part in given])
    assert says in capsys.readouterr().err


def test_the_script_for_a_gpu_tries_every_step_on_its_own_and_keeps_what_it_has(tmp_path, monkeypatch):
    def unlucky():
        raise RuntimeError("no kernel image")

    out = tmp_path / "gpu.json"
    options = Options(**SMALL | {"batch": 2, "clips": 4}, out=out)
    every = gpu.steps(gpu.Card(options), options)
    chosen = {"one": unlucky, "two": lambda: (json.loads(out.read_text()), import_module("no_such_library"))}
    chosen |= {name: every[name] for name in ("card", "train with hard", "shared against plain", "waits of a step")}
    monkeypatch.setattr(gpu, "steps", lambda *_: chosen)
    result = gpu.measure(options)
    assert result["failed"] == ["one"] and result["steps"] == json.loads(out.read_text())
    assert result["steps"]["one"] == "failed: RuntimeError: no kernel image"
    assert result["steps"]["two"] == "left out: No module named 'no_such_library'"
    assert result["steps"]["train with hard"]["finite"]
    assert max(result["steps"]["shared against plain"]["float64"].values()) < 1e-9


def test_the_benchmarks_need_no_library_of_the_shell_command():
    code = "import sys; sys.modules.update(dict.fromkeys(['click', 'psutil', 'captum', 'scipy', 'av', 'librosa']))\n"
    subprocess.run([sys.executable, "-c", code + "import benchmarks.__main__, benchmarks.gpu"], check=True, cwd=ROOT)


def test_both_sides_of_the_evaluation_find_the_same(peer):
    result = evaluate.measure(Options(peer=peer, frames=2, batch=3, clips=5, rounds=1))
    assert set(result["ratio"]) == set(result["aims"]) == {"original 3"}
    for row in result["accuracy"].values():
        assert row["avlib"] == pytest.approx(row["original"], abs=1e-4)


def test_the_original_step_trains_and_leaves_no_module_behind(peer):
    before = set(sys.modules)
    original = Peer(peer)
    net = original.network("ia", 8, 2, 224, "cpu")
    weights = [weight.clone() for weight in net.parameters()]
    original.trainer(net, "softhard", 0.04, "cpu")(
        (torch.randn(2, 10, 156), torch.rand(2, 3, 2, 224, 224), torch.tensor([1, 3]))
    )
    assert not all(map(torch.equal, weights, net.parameters()))
    assert not {"train", "validation", "model", "models", "utils"} & (set(sys.modules) - before)


def test_the_original_network_refuses_other_sizes_of_frames(peer):
    with pytest.raises(workbook.InputError, match="224 pixels"):
        Peer(peer).network("ia", 8, 2, 64, "cpu")


@pytest.mark.shared
def test_the_original_script_makes_what_its_authors_shared(peer, shared, tmp_path):
    cv2 = pytest.importorskip("cv2")
    if cv2.__version__ != "4.10.0":
        pytest.skip("another OpenCV reads other colours")
    import numpy as np

    name = "01-01-01-01-02-01-05"
    (faces,) = Peer(peer).extract_faces([shared / f"ravdess/Actor_05/{name}.mp4"], tmp_path)
    np.testing.assert_array_equal(faces, np.load(shared / f"ravdess_authors_preprocessed/{name}_facecroppad.npy"))


def test_the_cost_of_a_sweep_is_all_that_is_not_computing(tmp_path):
    found = sweep.measure(Options(runs=1, jobs=1))
    assert 0 < found["efficiency"] < 1 and found["runs of the sweep"] == 1
    whole = found["computing, seconds of a run"] + found["overhead, seconds of a run"]
    assert whole == pytest.approx(found["seconds"], abs=0.1)
