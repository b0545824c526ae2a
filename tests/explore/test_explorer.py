"""The explorer without a browser: its widgets and clips, what it sends to the figure, the figure without a kernel."""

import dataclasses
import io
import wave
from threading import current_thread, main_thread

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from avlib import build_model
from workbook import InputError
from workbook.attention import attribution
from workbook.data.datasets import Corpus
from workbook.evaluate.evaluation import predict
from workbook.explore import probe
from workbook.explore.controls import ClipPicker, clip_labels, with_answers
from workbook.explore.explorer import Explorer
from workbook.explore.figure import FigureWidget
from workbook.explore.probe import THREE, Change, Subject
from workbook.train.batches import splits
from workbook.train.descriptors import describe

gradients = attribution.integrated_gradients
ATTACK = "<img src=x onerror='alert(1)'>"


@pytest.fixture(scope="module")
def clips(small_toy):
    """Eight test clips of a toy corpus."""
    test = splits(Corpus("toy", small_toy, frames=3, image_size=64).open_store(), 0, 8, ("audio", "video"))["test"]
    return test.where(np.arange(len(test)) < 8)


@pytest.fixture(scope="module")
def networks(clips):
    torch.manual_seed(3)
    nets = {name: build_model("ia", heads, 8, 64) for name, heads in {"one": 1, "two": 2}.items()}
    predictions = {name: predict(net, clips, THREE, fold=0, seed=1) for name, net in nets.items()}
    return {"one": Subject(nets["one"], predictions["one"]), "two": lambda: Subject(nets["two"], predictions["two"])}


@pytest.fixture
def explorer(networks, clips):
    return Explorer(networks, clips)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def drawn(explorer, network=0):
    """What the browser draws of a network."""
    return explorer.figure_widget.view["networks"][network]


def test_it_opens_on_the_first_clip(explorer, clips):
    first, widget = clips.table["clip"][0], explorer.figure_widget
    assert explorer.clips.chosen == first and explorer.message.value == ""
    network = drawn(explorer)
    assert network["outputs"]["AV"] == pytest.approx(explorer.probe.answer(first, Change()).outputs["AV"])
    assert network["before"]["outputs"] == network["outputs"]
    assert pixels(widget.video).shape == (64, 3 * 64, 3) and pixels(widget.audio).shape[1] == 156
    assert widget.view["truth"] == clips.table["emotion"][0]


def test_a_control_changes_the_answer_and_reset_undoes_it(explorer):
    before = drawn(explorer)["outputs"]
    explorer.controls["audio_gain"].value = 0.2
    assert drawn(explorer)["outputs"] != before == drawn(explorer)["before"]["outputs"]
    assert explorer.figure_widget.volume == 0.2
    explorer.reset.click()
    assert drawn(explorer)["outputs"] == before and explorer.controls["audio_gain"].value == 1


def test_a_mask_drawn_in_the_browser_reaches_the_network_and_the_ear(explorer):
    intact = explorer.figure_widget.sound
    explorer.figure_widget.masked = {"audio": [[0.5, 1.5]], "video": []}
    assert explorer.change.audio_masked == ((0.5, 1.5),)
    with wave.open(io.BytesIO(explorer.figure_widget.sound)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
        assert sound.getframerate() == 22050 and len(samples) == 79380
    assert not samples[11100:33000].any() and explorer.figure_widget.sound != intact


def test_two_networks_answer_side_by_side(explorer):
    assert len(explorer.figure_widget.view["networks"]) == 1
    explorer.beside.value = "two"
    first, second = drawn(explorer), drawn(explorer, 1)
    assert (first["label"], second["label"]) == ("one", "two") and first["outputs"] != second["outputs"]
    assert first["map"]["png"] != second["map"]["png"] and pixels(first["map"]["png"]).shape == (150, 3, 3)


def test_gradients_are_computed_on_demand_once_and_for_the_first_network_alone(explorer, monkeypatch):
    calls = []
    counted = lambda *args, **options: calls.append(args) or gradients(*args, **options)  # noqa: E731
    monkeypatch.setattr(attribution, "integrated_gradients", counted)
    explorer.network.value, explorer.beside.value = "two", "one"
    assert "scores" not in drawn(explorer) and not calls
    explorer.gradients.value = True
    explorer.map.value = "audio looks at video, head 2"
    assert len(calls) == 1 and "scores" not in drawn(explorer, 1)
    assert {name: len(scores) for name, scores in drawn(explorer)["scores"].items()} == {"video": 3, "audio": 156}


def test_a_line_of_code_restores_a_view(explorer, networks, clips):
    explorer.clips.later.click()
    explorer.beside.value = "two"
    explorer.controls["shift"].value = 0.3
    explorer.controls["voice"].value = clips.table["clip"][4]
    explorer.figure_widget.masked = {"audio": [], "video": [[1.0, 2.0]]}
    line, outputs = explorer.line.value, drawn(explorer)["outputs"]
    assert line.startswith("explorer.show(clip=") and "shift=0.3" in line and "audio_gain" not in line
    other = Explorer(networks, clips)
    eval(line, {"explorer": other})
    assert (other.view, drawn(other)["outputs"]) == (explorer.view, outputs)
    third = Explorer(networks, clips)
    third.line.value = line
    assert (third.view, third.line.value) == (explorer.view, line)


REFUSED = {  # a line that is no view -> what is said about it
    "explorer.show(shift='far')": "shift cannot be 'far' here",
    "__import__('os').remove('x')": "this is no saved view",
    f"explorer.show(clip={ATTACK!r})": "no clip",
    f"explorer.show(audio_masked=[({ATTACK!r}, 1)])": "a masked span has",
    "explorer.show(video_masked=((0, 1e999),))": "a masked span has",
    f"explorer.show(**{{{ATTACK!r}: 1}})": "this is no saved view",
    "explorer.show(clip=['a'], audio_gain=0.2)": "this is no saved view",
    "explorer.show(audio_gain=0.2, gradients=[1], voice={})": "voice cannot be",
    "explorer.show(clip='" + "[" * 5000: "this is no saved view",
    ATTACK: "this is no saved view",
}


def test_a_pasted_line_is_text_and_changes_nothing_where_it_is_refused(explorer):
    explorer.controls["audio_gain"].value = 0.4
    before, masked = explorer.view, explorer.figure_widget.masked
    for line, sentence in REFUSED.items():
        explorer.line.value = line
        assert explorer.message.value and "<" not in explorer.message.value and sentence in explorer.message.value
        assert explorer.message.layout.display is None
        assert (explorer.view, explorer.figure_widget.masked) == (before, masked)
    explorer.reset.click()
    assert explorer.message.value == ""


def test_the_name_of_a_clip_is_text_in_every_widget_and_in_the_figure(networks, clips):
    named = clips.where(np.arange(len(clips)) < 8)
    name = f"{ATTACK} $\\frac$"
    named.table.loc[0, "clip"], named.table.loc[1, "audio_path"] = name, f"{ATTACK}.wav"
    one = Subject(networks["one"].net, about=["Learnt from few.", ATTACK])
    explorer = Explorer({ATTACK: one, "$\\frac$": networks["two"]}, named)
    assert "Learnt from few. &lt;" in explorer.about.value and explorer.about.value.count("<p>") == 1
    explorer.beside.value = "$\\frac$"
    texts = [text for text in explorer.figure().findobj(Text) if "frac" in text.get_text()]
    assert len(texts) >= 2 and not any(text._preprocess_math(text.get_text())[1] for text in texts)
    assert any(name in text._preprocess_math(text.get_text())[0].replace("\n", " ") for text in texts)
    before = explorer.figure_widget.video
    explorer.clips.later.click()  # its sound is gone
    assert ".wav" in explorer.message.value and "<" not in explorer.message.value
    assert explorer.figure_widget.video == before


def test_a_picture_of_the_view_is_sent_to_the_browser(explorer, monkeypatch):
    sent = []
    monkeypatch.setattr(FigureWidget, "send", lambda self, message, buffers=None: sent.append((message, buffers)))
    explorer.save.click()
    ((message, (png,)),) = sent
    assert message == {"download": f"{explorer.clips.chosen}.png"}
    picture = Image.open(io.BytesIO(png))
    assert picture.size[0] > 1500 and picture.text["Description"] == explorer.line.value


def frames_waited_for(monkeypatch):
    """The numbers of frames that steps wait for from now on, as they are described."""
    counts = []

    def counted(net, video):
        if current_thread() is main_thread():
            counts.append(video.shape[1])
        return describe(net, video)

    monkeypatch.setattr(probe, "describe", counted)
    return counts


def test_all_places_of_the_other_slider_and_the_neighbours_are_prefetched(networks, clips, monkeypatch):
    explorer = Explorer(networks, clips)
    waited = frames_waited_for(monkeypatch)
    explorer.clips.later.click()
    assert waited == [3] and explorer._prefetcher._thread is None  # before a browser shows the figure
    explorer._on_shown()
    explorer.controls["video_gain"].value = 0.4
    explorer._prefetcher.wait(60)
    waited.clear()
    explorer.controls["video_noise"].value = 10.0
    explorer._prefetcher.wait(60)
    explorer.controls["video_gain"].value = 0.9
    explorer.reset.click()
    explorer.clips.later.click()
    assert waited == []


def test_features_are_heat_maps_without_a_sound(tiny_store):
    test = splits(tiny_store, 0, 8, ("audio", "video"), fold_scheme="groups")["test"]
    features = np.random.default_rng(0).standard_normal((48, 5, 35)).astype(np.float32)
    test.store = dataclasses.replace(tiny_store, video=features)
    test.table["emotion"] = "happy"
    explorer = Explorer({"lt": Subject(build_model("lt", 1, 8, audio_channels=10, video_channels=35))}, test)
    widget = explorer.figure_widget
    assert widget.sound == b"" and widget.view["frames"] == 0
    assert pixels(widget.video).shape == (35, 5, 3) and pixels(widget.audio).shape == (10, 156, 3)
    assert explorer.figure().axes


@pytest.mark.parametrize("fusion", ["audio", "concat"])
def test_a_network_without_attention_is_explored_without_it(clips, fusion):
    explorer = Explorer({fusion: Subject(build_model(fusion, 1, 8, 64))}, clips)
    assert drawn(explorer)["vectors"] == {} and explorer.map.layout.display == "none"
    assert explorer.figure().axes


def test_the_static_figure_shows_both_networks_on_one_scale_and_the_masks(explorer):
    explorer.beside.value, explorer.gradients.value = "two", True
    explorer.figure_widget.masked = {"audio": [[1, 2]], "video": []}
    figure = explorer.figure()
    titles = [ax.get_title(loc) for ax in figure.axes for loc in ("left", "center")]
    maps = [image for ax in figure.axes if "looks at" in ax.get_title() for image in ax.images]
    assert len(maps) == 2 and maps[0].get_clim() == maps[1].get_clim()
    assert any(title.startswith("AV  both\n") and title.count("\n") == 2 for title in titles)
    assert sum("integrated gradients" in title for title in titles) == 2
    masks = [patch for ax in figure.axes for patch in ax.patches if patch.get_hatch() == "//"]
    assert len(masks) == 3 and all((mask.get_x(), mask.get_width()) == (1, 1) for mask in masks)


CLIPS = pd.DataFrame({"clip": list("abcde"), "emotion": ["happy", "happy", "sad", "sad", "angry"]})
CLIPS = CLIPS.assign(actor=[2, 11, 2, 11, 2], answer=["right", "wrong", "right", "right", "wrong"])
CLIPS = CLIPS.assign(lost_without_audio=[0.1, 0.5, 0.3, 0.2, np.nan])


@pytest.fixture
def choices():
    """The clips that were chosen, in order."""
    return []


@pytest.fixture
def picker(choices):
    picker = ClipPicker(CLIPS)
    picker.observe(lambda change: choices.append(change["new"]), names="chosen")
    return picker


def test_filters_narrow_the_clips_choose_once_and_can_be_undone_where_none_is_left(picker, choices):
    picker.actor.value = 11
    assert picker.offered == ["b", "d"]
    picker.emotion.value = "sad"
    picker.answer.value = "right"  # d passes and stays
    assert picker.offered == ["d"] and choices == ["b", "d"]
    picker.answer.value = "wrong"
    assert picker.offered == [] and picker.chosen is None
    picker.later.click()
    picker.emotion.value = picker.actor.value = "all"
    picker.later.click()
    picker.earlier.click()
    assert choices == ["b", "d", None, "b", "e", "b"]


def test_the_clips_that_lose_most_without_a_modality_come_first(picker):
    picker.order.value = "lost most without sound"
    assert picker.offered == ["b", "c", "d", "a", "e"]
    assert picker.chosen == "b"
    assert "lost most without picture" not in picker.order.options


def test_another_table_keeps_the_clip_and_the_filters(picker, choices):
    picker.answer.value = "right"
    picker.take(CLIPS.assign(answer=["right", "right", "wrong", "wrong", "wrong"]))
    assert picker.offered == ["a", "b"] and picker.chosen == "a" and choices == []


def test_a_clip_is_reached_also_where_filters_hide_it(picker):
    assert picker.chosen == "a" and ClipPicker(CLIPS, first="d").chosen == "d"
    picker.emotion.value = "sad"
    picker.reach("e")
    assert picker.chosen == "e" and picker.emotion.value == "all"
    with pytest.raises(InputError, match="no clip z among these 5"):
        picker.reach("z")


def test_clips_have_readable_names_each_its_own():
    clips = pd.DataFrame({"clip": ["x", "y", "z"], "emotion": ["sad", "happy", "sad"], "actor": [5, 5, 5]})
    names = clip_labels(clips)
    assert names == {"x": "sad, actor 5, no. 1", "y": "happy, actor 5", "z": "sad, actor 5, no. 2"}
    assert ClipPicker(clips).clip.options == tuple((name, clip) for clip, name in names.items())


def predictions(**conditions):
    tables = [pd.DataFrame(rows).assign(condition=name) for name, rows in conditions.items()]
    return pd.concat(tables, ignore_index=True)


def test_what_a_network_says_is_added_to_the_table():
    both = {"clip": ["b", "a"], "label": [1, 0], "p0": [0.3, 0.9], "p1": [0.7, 0.1]}
    sound = {"clip": ["a"], "label": [0], "p0": [0.2], "p1": [0.8]}
    table = with_answers(CLIPS[["clip", "emotion", "actor"]][:2], predictions(AV=both, A=sound)).set_index("clip")
    assert table.answer.tolist() == ["right", "right"]
    assert table.lost_without_video["a"] == pytest.approx(0.7) and np.isnan(table.lost_without_video["b"])
    assert "lost_without_audio" not in table


def test_sentiment_is_right_by_its_sign_and_lost_by_its_distance():
    both = {"clip": ["a", "b", "c"], "label": [1.2, -0.4, 0.0], "value": [0.5, 0.1, -0.1]}
    picture = both | {"value": [-1.0, 0.2, 0.3]}
    table = with_answers(CLIPS[["clip", "emotion", "actor"]][:4], predictions(AV=both, V=picture))
    assert table.answer[:2].tolist() == ["right", "wrong"] and table.answer[2:].isna().all()  # neutral, not tested
    assert table.lost_without_audio[:3].tolist() == pytest.approx([1.5, 0.1, 0.4])
