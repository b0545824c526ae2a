"""The explorer as a page: its graphs against `Probe`, and in a browser every control against `Probe`, offline."""

import json
import random
import shutil
import sys
from http.client import HTTPConnection

import numpy as np
import pytest
import torch
from browser import CHROMIUM, drag, served
from smoke_runs import clips_from_files
from test_probe import responsive

from avlib import build_model
from workbook import ROOT, InputError
from workbook.data.audio import log_mel, mfcc
from workbook.data.datasets import Corpus
from workbook.data.window import WINDOW_SAMPLES
from workbook.explore import page as export
from workbook.explore.explorer import GAINS, NOISES
from workbook.explore.graphs import Sound
from workbook.explore.page import PageCorpus, choose_clips, write_page
from workbook.explore.probe import Change, Inputs, Probe, Subject, in_words
from workbook.train.batches import splits

CLIPS = 10
HTML = "<img src=x onerror=alert(1)>"  # in names of clips and networks: text
READ = """() => {
    const { view } = document.getElementById("figure").traits;
    const array = ({ dims, data }) => ({ dims: [...dims], data: [...data] });
    const maps = (network) => Object.fromEntries(Object.entries(network.maps).map(([name, map]) => [name, array(map)]));
    return view.networks.map((network) => ({ ...network, before: 0, map: 0, maps: maps(network) }));
}"""
SET = """([name, value]) => {
    const control = document.getElementById(name);
    control.value = value;
    control.dispatchEvent(new Event(control.type === "range" ? "input" : "change"));
}"""
browser = pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine")


def network(fusion, clips, heads=1, **settings):
    return responsive(build_model(fusion, heads, **settings), clips)


@pytest.fixture(scope="module")
def corpora(small_toy, tmp_path_factory):
    """Two networks on clips of the toy corpus, and one on features with a score."""
    films = clips_from_files(small_toy, tmp_path_factory.mktemp("films"), CLIPS)
    torch.manual_seed(0)
    ia, concat = (network(fusion, films, heads=heads, image_size=64) for fusion, heads in (("ia", 2), ("concat", 1)))
    concat.frame_network = ia.frame_network
    path, rng = tmp_path_factory.mktemp("features") / "mine.npz", np.random.default_rng(0)
    label, names = np.resize(np.float32([2, 0, -1.5, 1, -2, 3]), 60), [f"{HTML}{number}" for number in range(60)]
    audio, video = rng.standard_normal((60, 5, 31)) + label[:, None, None], rng.standard_normal((60, 7, 29))
    np.savez(path, audio=audio, video=video, label=label, group=np.arange(60) // 5, clip=names)
    features = splits(Corpus("features", path).open_store(), 0, 0, ("audio", "video"))["test"]
    lt = network("lt", features, classes=1, audio_channels=5, video_channels=7)
    networks = {"films": {"ia": Subject(ia), "concat": Subject(concat)}, "features": {HTML: Subject(lt)}}
    return [
        PageCorpus(name, networks[name], clips, choose_clips(clips, clips.table["clip"].iloc[0], CLIPS))
        for name, clips in (("films", films), ("features", features))
    ]


@pytest.fixture(scope="module")
def folder(corpora, tmp_path_factory):
    """The folder of their page."""
    pytest.importorskip("onnxscript", reason="the extra `page` is not installed")
    try:
        export.runtime_files()
    except InputError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("page") / "page"
    write_page(folder, corpora)
    return folder


@pytest.fixture(scope="module")
def record(folder):
    return json.loads((folder / "page.json").read_text())


@pytest.fixture
def opened(folder, page):
    """The page, opened from a server of static files."""
    with served(folder) as address:
        page.goto(address)
        settle(page)
        yield page
        assert not page.wrong


def settle(page):
    page.wait_for_selector("#figure[data-idle=true]", timeout=60_000)


def choose(page, name, value):
    """Moves a control, and waits for the figure."""
    page.evaluate(SET, [name, value])
    settle(page)


def compare(page, probes, clip, change):
    """Holds what the page shows against `Probe`."""
    shown = page.evaluate(READ)
    assert len(shown) == len(probes)
    for network, probe in zip(shown, probes, strict=True):
        answer = probe.answer(clip, change)
        maps = {name: np.reshape(each["data"], each["dims"]) for name, each in network["maps"].items()}
        for kind, own in {"outputs": network["outputs"], "vectors": network["vectors"], "maps": maps}.items():
            assert own.keys() == getattr(answer, kind).keys()
            for name, values in getattr(answer, kind).items():
                np.testing.assert_allclose(own[name], values, rtol=1e-4, atol=1e-4, err_msg=f"{kind} {name} {change}")
    return shown


@pytest.mark.parametrize("number", [0, 1])
def test_the_graphs_answer_as_the_networks_do(number, corpora, folder, record):
    runtime = pytest.importorskip("onnxruntime")
    corpus, about = corpora[number], record["corpora"][number]
    inputs, clip, change = Inputs(corpus.clips), corpus.chosen[1], Change(video_gain=0.5)
    for each, subject in zip(about["networks"], corpus.networks.values(), strict=True):
        probe = Probe(subject.net, inputs)
        audio, video = inputs.audio(clip, change), probe.descriptors(clip, change)
        answer = probe.answer(clip, change)
        given = {"audio": audio.numpy(), "video": video.numpy()}
        session = runtime.InferenceSession(folder / each["answers"])
        outputs = dict(zip([output.name for output in session.get_outputs()], session.run(None, given), strict=True))
        np.testing.assert_allclose(outputs["> outputs"], [*answer.outputs.values()], atol=1e-5)
        for name, attention in (answer.maps | answer.vectors).items():
            np.testing.assert_allclose(outputs[f"> {name}"], attention, atol=1e-5)
        given["target"] = answer.sign * np.eye(len(about["names"]), dtype=np.float32)[[answer.best]]
        scores = runtime.InferenceSession(folder / each["gradients"]).run(None, given)
        expected = probe.attribution(clip, change)
        for own, name in zip(scores, ("audio", "video"), strict=True):
            np.testing.assert_allclose(own, expected[name], atol=0.02 * abs(expected[name]).max())  # at kinks


def test_a_page_hears_what_librosa_hears():
    samples = np.float32(np.random.default_rng(0).standard_normal(WINDOW_SAMPLES) * np.linspace(0, 0.5, WINDOW_SAMPLES))
    for own, expected in zip(Sound()(torch.from_numpy(samples)[None]), (log_mel(samples), mfcc(samples)), strict=True):
        np.testing.assert_allclose(own[0], expected, atol=1e-2)


@browser
@pytest.mark.browser
def test_every_control_answers_as_python_does(corpora, record, opened):
    draw = random.Random(0)
    for corpus, about in zip(corpora, record["corpora"], strict=True):
        inputs = Inputs(corpus.clips)
        probes = [Probe(subject.net, inputs) for subject in corpus.networks.values()]
        ids = [f"{corpus.name}/{name}" for name in corpus.networks]
        choose(opened, "network", ids[0])
        choose(opened, "beside", ids[1] if len(ids) > 1 else "")
        opened.locator("#gradients").set_checked(corpus.name == "features")
        for number, clip in enumerate(corpus.chosen):
            choose(opened, "clip", number)
            shown = compare(opened, probes, clip, Change())
            words = opened.locator(".bars").get_attribute("aria-label")
            assert in_words(probes[0].answer(clip, Change()), about["names"]).replace("**", "") in words
            for name, scores in shown[0].get("scores", {}).items():
                expected = probes[0].attribution(clip, Change())[name]
                np.testing.assert_allclose(scores, expected, atol=0.02 * abs(expected).max())
            place, other = draw.randrange(1, 31), draw.choice([k for k in range(CLIPS) if k != number])
            gains, noises = [draw.randrange(11) for _ in range(2)], [draw.randrange(1, 9) for _ in range(2)]
            change = {"shift": round(place * about["reach"] / 30, 3), "voice": corpus.chosen[other]}
            change |= {f"{name}_gain": GAINS[gain] for name, gain in zip(("audio", "video"), gains, strict=True)}
            change |= {f"{name}_noise": NOISES[noise] for name, noise in zip(("audio", "video"), noises, strict=True)}
            steps = dict(zip(("audio_gain", "video_gain"), gains, strict=True)) | {"shift": 30 + place, "voice": other}
            steps |= dict(zip(("audio_noise", "video_noise"), noises, strict=True))
            kept = draw.sample([*steps], 3)
            for name in kept:
                choose(opened, name, steps[name])
            change = {name: change[name] for name in kept}
            compare(opened, probes, clip, Change(**change))
            opened.locator(".time").press("Shift+ArrowRight" if number % 2 else "Alt+ArrowRight")
            settle(opened)
            spans = opened.evaluate("document.getElementById('figure').traits.masked")
            masked = {f"{name}_masked": tuple(map(tuple, pairs)) for name, pairs in spans.items()}
            assert sum(map(len, masked.values())) == 1
            compare(opened, probes, clip, Change(**change, **masked))
            opened.locator("#reset").click()
            settle(opened)
            compare(opened, probes, clip, Change())


@browser
@pytest.mark.browser
def test_a_view_is_in_the_address_masked_by_dragging_and_saved_as_a_picture(opened):
    drag(opened, opened.locator(".time").bounding_box(), 0.3, 0.6, 0.8)
    settle(opened)
    choose(opened, "audio_noise", 4)
    choose(opened, "beside", "films/concat")
    choose(opened, "voice", 3)
    address, marks = opened.url, opened.locator(".time .marks").inner_html()
    assert "audio_masked=" in address and "audio_noise=15" in address and "voice=4" in address
    opened.locator("#reset").click()
    settle(opened)
    assert "masked" not in opened.url and opened.locator(".time .marks").inner_html() != marks
    opened.goto("about:blank")
    opened.goto(address)
    settle(opened)
    assert opened.url == address and opened.locator(".time .marks").inner_html() == marks
    opened.evaluate("location.hash = '#network=%3Cb%3E&clip=99&shift=7&audio_masked=5-x&map=no'")
    settle(opened)
    assert opened.locator("#clip").input_value() == "0"
    with opened.expect_download() as download:
        opened.locator("#save").click()
    picture = download.value.path().read_bytes()
    assert picture[:4] == b"\x89PNG" and len(picture) > 50_000


@browser
@pytest.mark.browser
def test_answer_truth_and_attention_are_hidden_until_a_guess(corpora, opened):
    opened.locator("#guess").check()
    settle(opened)
    shown = "".join(opened.locator("#clip, #voice, .heading").all_inner_texts())
    assert opened.locator(".bar").count() == 0 and "attention" not in opened.locator(".time .marks").inner_html()
    assert not any(name in shown for name in corpora[0].clips.task.names)
    assert corpora[0].chosen[0] not in opened.content()
    opened.locator("#guesses button").nth(2).click()
    settle(opened)
    assert opened.locator(".bar").count() == 24 and "Right so far: you" in opened.locator("#message").inner_text()


@browser
@pytest.mark.browser
def test_a_neutral_clip_is_neither_guessed_right_nor_wrong(record, opened):
    choose(opened, "network", f"features/{HTML}")
    truths = [clip["truth"] for clip in record["corpora"][1]["clips"]]
    opened.locator("#guess").check()
    for number, counted in ((truths.index("+0.00"), 0), (truths.index("+2.00"), 1)):
        choose(opened, "clip", number)
        opened.locator("#guesses button", has_text="positive").click()
        settle(opened)
        words = opened.locator("#message").inner_text()
        assert ("Truth: neutral" in words) == (counted == 0) and words.endswith(f" of {counted}.")


@browser
@pytest.mark.browser
def test_a_long_label_is_not_cut(opened):
    opened.evaluate("document.getElementById('figure').traits.view.names[2] = 'contented, relieved'")
    drawn = opened.locator(".avlib-figure").get_attribute("data-drawn")
    opened.set_viewport_size({"width": 1200, "height": 900})
    opened.wait_for_selector(f".avlib-figure:not([data-drawn='{drawn}'])", state="attached")
    left = "Math.min(...[...document.querySelectorAll('.bars text')].map((text) => text.getBBox().x))"
    assert "contented, relieved" in opened.locator(".bars").inner_html() and opened.evaluate(left) >= 0


@browser
@pytest.mark.browser
def test_names_are_text_and_a_phone_needs_no_scrolling_sideways(opened):
    opened.set_viewport_size({"width": 390, "height": 800})
    choose(opened, "network", f"features/{HTML}")
    assert opened.locator("img").count() == 0 and HTML in opened.locator("#network").inner_text()
    assert HTML in opened.locator(".heading").inner_text()
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


def test_no_path_of_this_machine_is_on_the_page(folder):
    for path in folder.rglob("*.*"):
        assert not any(str(place).encode() in path.read_bytes() for place in (ROOT, folder, sys.prefix)), path


def test_a_page_takes_no_folder_of_others_and_keeps_its_graphs(corpora, folder, tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="holds other files"):
        write_page(tmp_path, corpora)
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.onnx")}
    (folder / "old.onnx").touch()
    write_page(folder, corpora)
    assert times == {path: path.stat().st_mtime_ns for path in folder.glob("*.onnx")}


def test_without_npm_the_command_says_which_files_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "RUNTIME", tmp_path / "onnxruntime-web-1.30.0")
    monkeypatch.setattr(shutil, "which", lambda name: "no-npm-here")
    with pytest.raises(InputError, match=r"put ort.wasm.min.mjs, ort-wasm-simd-threaded.mjs, .* into"):
        write_page(tmp_path / "page", [])


def test_only_this_machines_names_reach_a_page_of_this_machine(tmp_path):
    (tmp_path / "index.html").write_text("the page")
    hosts = {"localhost:80": 200, "127.0.0.1": 200, "evil.example": 403, "127.0.0.1.evil.example": 403}
    with served(tmp_path) as address:
        for host, status in hosts.items():
            connection = HTTPConnection(address.split("/")[2])
            connection.request("GET", "/", headers={"Host": host})
            assert connection.getresponse().status == status
