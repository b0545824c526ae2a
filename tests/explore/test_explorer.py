"""The explorer without a browser: what its widgets hold, and what is sent to the figures."""

import dataclasses
import io
import wave
from threading import current_thread, main_thread

import numpy as np
import pytest
import torch
from PIL import Image

from avlib import build_model
from workbook import InputError
from workbook.attention import attribution
from workbook.data.datasets import Corpus
from workbook.evaluate.evaluation import predict
from workbook.explore import probe
from workbook.explore.explorer import Explorer
from workbook.explore.probe import THREE, Change, Subject
from workbook.explore.widget import FigureWidget
from workbook.train.batches import splits
from workbook.train.descriptors import describe

gradients = attribution.integrated_gradients


@pytest.fixture(scope="module")
def clips(small_toy):
    """Eight test clips of a toy corpus."""
    test = splits(Corpus("toy", small_toy, frames=3, image_size=64).open_store(), 0, 8, ("audio", "video"))["test"]
    return test.where(np.arange(len(test)) < 8)


@pytest.fixture(scope="module")
def networks(clips):
    torch.manual_seed(3)
    nets = {name: build_model("ia", heads, 8, 64) for name, heads in {"one": 1, "two": 2}.items()}
    found = {name: predict(net, clips, THREE, fold=0, seed=1) for name, net in nets.items()}
    return {"one": Subject(nets["one"], found["one"]), "two": lambda: Subject(nets["two"], found["two"])}


@pytest.fixture
def explorer(networks, clips):
    return Explorer(networks, clips)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def said(explorer, network=0, condition="AV", when=None):
    shown = explorer.figure_widget.view["networks"][network]
    return (shown if when is None else shown[when])["outputs"][condition]


def test_the_first_clip_is_shown_at_once(explorer, clips):
    first = clips.table["clip"][0]
    assert explorer.clips.chosen == first and explorer.message.value == ""
    expected = explorer.probe.answer(first, Change()).outputs
    assert said(explorer) == pytest.approx(expected["AV"]) and said(explorer, when="before") == said(explorer)
    assert pixels(explorer.figure_widget.video).shape == (64, 3 * 64, 3)
    assert pixels(explorer.figure_widget.audio).shape[1] == 156
    assert explorer.figure_widget.view["truth"] == clips.table["emotion"][0]


def test_a_control_changes_the_answer_and_keeps_what_it_was(explorer):
    before = said(explorer)
    explorer.controls["audio_gain"].value = 0.2
    assert said(explorer) != before and said(explorer, when="before") == before
    assert explorer.figure_widget.volume == 0.2
    explorer.reset.click()
    assert said(explorer) == before and explorer.controls["audio_gain"].value == 1


def test_a_mask_drawn_in_the_browser_reaches_the_network_and_the_ear(explorer):
    whole = explorer.figure_widget.sound
    explorer.figure_widget.masked = {"audio": [[0.5, 1.5]], "video": []}
    assert explorer.change.audio_masked == ((0.5, 1.5),)
    with wave.open(io.BytesIO(explorer.figure_widget.sound)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
        assert sound.getframerate() == 22050 and len(samples) == 79380
    assert not samples[11100:33000].any() and explorer.figure_widget.sound != whole


def test_noise_in_the_picture_is_seen(explorer):
    clean = pixels(explorer.figure_widget.video).astype(int)
    explorer.controls["video_noise"].value = 5.0
    assert np.abs(pixels(explorer.figure_widget.video) - clean).mean() > 10
    explorer.controls["video_noise"].value = float("inf")
    explorer.controls["video_gain"].value = 0.5
    assert pixels(explorer.figure_widget.video).mean() == pytest.approx(clean.mean() / 2, abs=1)


def test_two_networks_answer_side_by_side(explorer):
    assert len(explorer.figure_widget.view["networks"]) == 1
    explorer.beside.value = "two"
    first, second = explorer.figure_widget.view["networks"]
    assert (first["label"], second["label"]) == ("one", "two") and first["outputs"] != second["outputs"]
    assert first["map"]["png"] != second["map"]["png"]


def test_a_network_is_opened_when_it_is_chosen(networks, clips):
    opened = []
    lazy = {"one": networks["one"], "two": lambda: opened.append("two") or networks["two"]()}
    explorer = Explorer(lazy, clips)
    assert opened == []
    explorer.network.value = "two"
    explorer.network.value = "one"
    explorer.network.value = "two"
    assert opened == ["two"] and len(explorer.map.options) == 4  # two directions, two heads


def test_another_head_shows_another_map(explorer):
    explorer.network.value = "two"
    before = explorer.figure_widget.view["networks"][0]["map"]["png"]
    explorer.map.value = "video to audio, head 2"
    assert explorer.figure_widget.view["networks"][0]["map"]["png"] != before
    assert pixels(before).shape == (150, 3, 3)


def test_gradients_are_computed_when_they_are_wanted(explorer):
    assert "scores" not in explorer.figure_widget.view["networks"][0]
    explorer.gradients.value = True
    assert {name: len(found) for name, found in explorer.figure_widget.view["networks"][0]["scores"].items()} == {
        "video": 3,
        "audio": 156,
    }


def test_a_line_of_code_restores_a_view(explorer, networks, clips):
    explorer.clips.later.click()
    explorer.beside.value = "two"
    explorer.controls["shift"].value = 0.3
    explorer.controls["voice"].value = clips.table["clip"][4]
    explorer.figure_widget.masked = {"audio": [], "video": [[1.0, 2.0]]}
    line, shown = explorer.line.value, said(explorer)
    assert line.startswith("explorer.show(clip=") and "shift=0.3" in line and "audio_gain" not in line
    other = Explorer(networks, clips)
    eval(line, {"explorer": other})
    assert (other.view, said(other)) == (explorer.view, shown)
    third = Explorer(networks, clips)
    third.line.value = line
    assert (third.view, third.line.value) == (explorer.view, line)


@pytest.mark.parametrize(
    "line, says",
    [
        ("explorer.show(clip='nobody')", "no clip nobody among these 8"),
        ("explorer.show(shift='far')", "shift cannot be 'far' here"),
        ("explorer.show(colour='red')", "a view has no 'colour'"),
        ("__import__('os').remove('x')", "this is no saved view"),
        ("explorer.show(clip=open('x'))", "this is no saved view"),
        ("hello", "this is no saved view"),
    ],
)
def test_a_line_that_is_no_view_is_refused_in_a_sentence(explorer, line, says):
    explorer.controls["audio_gain"].value = 0.4
    before = explorer.view
    explorer.line.value = line
    assert says in explorer.message.value and explorer.message.layout.display is None
    assert explorer.view == before
    explorer.reset.click()
    assert explorer.message.value == ""


def test_a_clip_whose_sound_has_gone_says_so_and_keeps_its_figures(networks, clips, tmp_path):
    gone = splits(clips.store, 0, 8, ("audio", "video"))["test"].where(np.arange(32) < 8)
    gone.table.loc[1, "audio_path"] = str(tmp_path / "gone.wav")
    explorer = Explorer(networks, gone)
    before = explorer.figure_widget.video
    explorer.clips.later.click()
    assert "gone.wav" in explorer.message.value and explorer.figure_widget.video == before


def test_no_clip_left_is_said_and_the_figures_stay(networks, clips):
    never = networks["one"].predictions.assign(label=-1)
    explorer = Explorer({"one": Subject(networks["one"].net, never)}, clips)
    before = explorer.figure_widget.video
    explorer.clips.answer.value = "right"
    assert explorer.message.value == "No clip passes these filters." and explorer.figure_widget.video == before
    explorer.clips.answer.value = "wrong"
    assert explorer.message.value == "" and explorer.clips.chosen == clips.table["clip"][0]


def test_a_picture_of_the_view_is_given_to_the_browser(explorer, monkeypatch):
    given = []
    monkeypatch.setattr(FigureWidget, "send", lambda self, message, buffers=None: given.append((message, buffers)))
    explorer.save.click()
    ((message, (png,)),) = given
    assert message == {"download": f"{explorer.clips.chosen}.png"}
    picture = Image.open(io.BytesIO(png))
    assert picture.size[0] > 1500 and picture.text["Description"] == explorer.line.value


def described(monkeypatch):
    """The numbers of frames that a step has to wait for from now on, as they are described."""
    seen = []

    def noticed(net, video):
        if current_thread() is main_thread():
            seen.append(video.shape[1])
        return describe(net, video)

    monkeypatch.setattr(probe, "describe", noticed)
    return seen


def test_frames_are_described_ahead_only_where_somebody_looks(networks, clips, monkeypatch):
    explorer = Explorer(networks, clips)
    waited = described(monkeypatch)
    explorer.clips.later.click()
    assert waited == [3] and explorer._prefetcher._thread is None
    explorer._on_message({"shown": True})
    explorer._prefetcher.wait(60)
    waited.clear()
    for gain in (0.3, 0.8):
        explorer.controls["video_gain"].value = gain
    assert waited == []


def test_after_a_move_of_a_slider_all_places_of_the_other_are_described_ahead(networks, clips, monkeypatch):
    explorer = Explorer(networks, clips)
    explorer._on_message({"shown": True})
    explorer.controls["video_gain"].value = 0.4
    explorer._prefetcher.wait(60)
    waited = described(monkeypatch)
    explorer.controls["video_noise"].value = 10.0
    explorer._prefetcher.wait(60)
    explorer.controls["video_gain"].value = 0.9
    assert waited == []


def test_the_neighbours_of_a_clip_are_described_after_it(networks, clips, monkeypatch):
    explorer = Explorer(networks, clips)
    explorer._on_message({"shown": True})
    explorer._prefetcher.wait(60)
    waited = described(monkeypatch)
    explorer.clips.later.click()
    assert waited == []


def test_gradients_are_computed_once_and_for_the_first_network_alone(explorer, monkeypatch):
    made = []
    monkeypatch.setattr(
        attribution, "integrated_gradients", lambda *given, **more: made.append(given) or gradients(*given, **more)
    )
    explorer.network.value, explorer.beside.value, explorer.gradients.value = "two", "one", True
    explorer.map.value = "video to audio, head 2"
    first, second = explorer.figure_widget.view["networks"]
    assert len(made) == 1 and "scores" in first and "scores" not in second


def test_features_are_heat_maps_without_a_sound(tiny_store):
    test = splits(tiny_store, 0, 8, ("audio", "video"), fold_scheme="groups")["test"]
    features = np.random.default_rng(0).standard_normal((48, 5, 35)).astype(np.float32)
    test.store = dataclasses.replace(tiny_store, video=features)
    test.table["emotion"] = "happy"
    explorer = Explorer({"lt": Subject(build_model("lt", 1, 8, audio_channels=10, video_channels=35))}, test)
    assert explorer.figure_widget.sound == b"" and explorer.figure_widget.view["frames"] == 0
    assert pixels(explorer.figure_widget.video).shape == (35, 5, 3) and pixels(explorer.figure_widget.audio).shape == (
        10,
        156,
        3,
    )
    assert explorer.figure().axes


@pytest.mark.parametrize("fusion", ["audio", "concat"])
def test_a_network_without_attention_is_explored_without_it(clips, fusion):
    explorer = Explorer({fusion: Subject(build_model(fusion, 1, 8, 64))}, clips)
    assert explorer.figure_widget.view["networks"][0]["vectors"] == {} and explorer.map.layout.display == "none"
    assert explorer.figure().axes


def test_the_static_figure_shows_both_networks_and_what_was_masked(explorer):
    explorer.beside.value, explorer.gradients.value = "two", True
    explorer.figure_widget.masked = {"audio": [[1, 2]], "video": []}
    figure = explorer.figure()
    titles = [ax.get_title(loc) for ax in figure.axes for loc in ("left", "center")]
    assert any(title.startswith("AV  both\n") and title.count("\n") == 2 for title in titles)
    assert sum("integrated gradients" in title for title in titles) == 2


def test_no_network_is_refused(clips):
    with pytest.raises(InputError, match="no network to explore"):
        Explorer({}, clips)
