"""A clip of one's own: windows that slide, one face followed, the answer of evaluation, and what cannot be used."""

import json
import os
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import papermill
import pytest
import soundfile
from click.testing import CliRunner
from in_process import without_kernels
from PIL import Image
from test_media import write_video

from avlib import build_model
from workbook import ROOT, InputError, plots
from workbook.cli import main
from workbook.data.faces import crop_face, follow
from workbook.data.mtcnn import FaceDetector
from workbook.data.prepare import prepare_clip
from workbook.data.window import SAMPLE_RATE, WINDOW
from workbook.predict.prediction import ModelCard, Prediction, predict_windows
from workbook.predict.windows import MOST, doubts, one_thread, read_windows
from workbook.run.own_clip import choose_clip, evaluation_sentence, predictor_of, upload_button, write_prediction
from workbook.run.parameters import Parameters
from workbook.run.reopen import open_trained
from workbook.toy import corpus as toy

SIZES = {"frames": 3, "image_size": 64}
FPS = 5


@pytest.fixture(scope="module")
def person():
    """Frames (25, H, W, 3) of a drawn person, FPS to a second."""
    frames = toy.plan_clip(0, 3, "happy", 0).frames()
    return frames[np.linspace(0, len(frames) - 1, 25).astype(int)]


@pytest.fixture(scope="module")
def voice():
    """Five seconds of a synthesised voice."""
    return np.resize(toy.plan_clip(0, 3, "happy", 0).samples(), 5 * SAMPLE_RATE)


@pytest.fixture(scope="module")
def film(tmp_path_factory, person, voice):
    return write_video(tmp_path_factory.mktemp("own") / "own.mp4", person, voice, fps=FPS)


@pytest.fixture(scope="module")
def drawn():
    """What a network that has seen a toy corpus says of itself."""
    measured = {"AV": 90.0, "A": 50.0, "V": 40.0}
    return ModelCard("toy corpus", True, tuple("abcd"), "none", measured, dict.fromkeys(measured, 8))


# the face


def box(left, size=10.0):
    return [left, 0.0, left + size, size]


def test_a_face_is_followed_though_another_becomes_larger():
    found = [np.array([box(0, 10), box(50, 8)]), np.array([box(50, 12), box(2, 10)]), np.array([box(4, 10)])]
    boxes, others = follow(found, np.array([0.0, 0.2, 0.4]))
    assert boxes[:, 0].tolist() == [0, 2, 4] and others == []


def test_a_face_that_is_missed_for_a_moment_is_waited_for_and_one_that_has_left_is_not():
    both, other = np.array([box(0), box(50, 8)]), np.array([box(50, 8)])
    none = np.zeros((0, 4), np.float32)
    boxes, others = follow([both, other, both, none, none, other, other], np.arange(7) * 0.5)
    np.testing.assert_array_equal(boxes[:, 0], [0, np.nan, 0, np.nan, np.nan, 50, 50])
    assert others == [2.5]


# the windows


def test_windows_reach_from_end_to_end_with_that_of_the_corpus_in_the_middle(film):
    windows = read_windows(film, **SIZES, hop=0.5)
    trial = {"clip": "own", "video_path": str(film), "audio_path": str(film)}
    with one_thread():
        prepared = prepare_clip(trial, **SIZES, protocol="paper")
    assert windows.starts[0] == 0 and windows.starts[-1] + WINDOW == pytest.approx(windows.seconds)
    assert np.diff(windows.starts).max() <= 0.5 and len(windows.starts) == 2 * windows.middle + 1
    assert windows.starts[windows.middle] == prepared.record["window_start"]
    np.testing.assert_array_equal(windows.audio[windows.middle], prepared.audio)
    np.testing.assert_array_equal(windows.video[windows.middle], prepared.video)
    assert windows.has_audio.all() and windows.has_video.all() and windows.faces == 1


def test_faces_are_shown_in_their_colours_though_a_network_reads_them_in_reverse(film):
    windows = read_windows(film, **SIZES, protocol="authors")
    skin = windows.pictures[windows.has_face].mean(axis=(0, 1, 2))
    assert skin[0] > skin[2] + 10 and np.array_equal(windows.pictures[..., ::-1], windows.video)


def test_a_hop_that_makes_too_many_windows_or_none_is_refused(film):
    with pytest.raises(InputError, match=rf"windows are too many, {MOST} can be kept: give a larger hop"):
        read_windows(film, **SIZES, hop=0.0001)
    with pytest.raises(InputError, match="hop is 0; it must be a number of seconds above 0"):
        read_windows(film, **SIZES, hop=0)


def test_a_face_in_too_few_frames_is_no_picture_and_said(tmp_path, person, voice):
    frames = np.full_like(person, 128)
    frames[3] = person[3]
    windows = read_windows(write_video(tmp_path / "rare.mp4", frames, voice, fps=FPS), **SIZES)
    assert not windows.has_video.any() and windows.has_audio.all()
    said = "frames of rare.mp4 show a face: turn the film upright if it lies on its side."
    assert said in windows.remarks()[0] and "from the sound alone" in windows.remarks()[1]
    windows = read_windows(write_video(tmp_path / "short.mp4", person[:1], voice, fps=FPS), **SIZES)
    assert "the picture of short.mp4 is too short" in windows.remarks()[0]


def test_after_the_face_has_left_there_is_sound_alone(tmp_path, person, voice, drawn):
    frames = np.concatenate([person, np.full((40, *person.shape[1:]), 128, np.uint8)])
    samples = np.resize(voice, 13 * SAMPLE_RATE)
    windows = read_windows(write_video(tmp_path / "leaves.mp4", frames, samples, fps=FPS), **SIZES)
    assert windows.has_video[0] and not windows.has_video[-1] and windows.has_audio.all()
    prediction = predict_windows(build_model("ia", classes=4, image_size=64), windows, drawn)
    last = prediction.table[prediction.table["window"] == len(windows.starts) - 1]
    assert list(last["condition"]) == ["A"]
    record = prediction.as_record()
    assert record["windows"][-1]["V"] is None and record["windows"][-1]["AV"] is None
    assert sum(record["windows"][-1]["A"].values()) == pytest.approx(1)
    assert prediction.likeliest().iloc[-1].tolist()[0] == ""


def test_a_sound_is_answered_as_sound_and_a_silent_film_as_picture(tmp_path, person, voice, drawn):
    soundfile.write(tmp_path / "a.wav", voice, SAMPLE_RATE)
    net = build_model("ia", classes=4, image_size=64)
    for path, condition, said in (
        (tmp_path / "a.wav", "A", "a.wav has no picture track."),
        (write_video(tmp_path / "b.mp4", person, fps=FPS), "V", "b.mp4 has no sound track."),
        (write_video(tmp_path / "c.mp4", person, 0 * voice, fps=FPS), "V", "c.mp4 is silent: nothing in its 3.6 s"),
    ):
        windows = read_windows(path, **SIZES)
        prediction = predict_windows(net, windows, drawn)
        assert set(prediction.table["condition"]) == {condition} and len(prediction.sentences()) == 1
        assert windows.remarks()[0].startswith(said)


def test_an_image_is_answered_as_picture(tmp_path, person):
    Image.fromarray(person[3]).save(tmp_path / "me.jpg")
    windows = read_windows(tmp_path / "me.jpg", **SIZES)
    assert not windows.notes and windows.seconds == WINDOW and len(windows.starts) == 1
    assert windows.has_video.all() and not windows.has_audio.any() and (windows.video == windows.video[0, 0]).all()


def test_a_network_of_one_branch_answers_from_it_alone_or_says_that_it_cannot(film, voice, tmp_path, drawn):
    net = build_model("video", classes=4, image_size=64)
    assert set(predict_windows(net, read_windows(film, **SIZES), drawn).table["condition"]) == {"V"}
    soundfile.write(tmp_path / "a.wav", voice, SAMPLE_RATE)
    with pytest.raises(InputError, match=r"this network reads a picture alone, and a\.wav has none"):
        predict_windows(net, read_windows(tmp_path / "a.wav", **SIZES), drawn)


# what to know first


def test_a_network_of_a_toy_corpus_says_so_before_it_answers_and_another_does_not(drawn):
    said = " ".join(drawn.sentences())
    assert "one corpus: toy corpus" in said and "What it says of a real face or a real voice means nothing" in said
    assert "90.0 % from sound and picture (8 clips)" in said and "guessing gives 25.0 %" in said
    real = replace(drawn, corpus="RAVDESS", is_toy=False, accuracy={}, clips={}).sentences()
    assert not any("drawn" in sentence for sentence in real) and any("nobody knows" in sentence for sentence in real)
    assert all("Acted emotion is not felt emotion" in " ".join(sentences) for sentences in (real, drawn.sentences()))


def test_a_network_says_from_whom_it_has_learnt_whether_paired_and_how_sure_its_accuracies_are(drawn):
    real = replace(
        drawn, corpus="RAVDESS", is_acted=True, material=(7680, 6324, 0), testers=4, intervals={"AV": (80, 99)}
    )
    material, skill = real.about()
    assert "RAVDESS, acted, 7,680 clips of 6,324 people, unpaired: none with sound and picture." in material
    assert "on test clips of 4 people whom it had never met: 90.0 %" in skill and "95 % interval 80 to 99)" in skill
    for both, words in {7680: "all with sound and picture", 12: "12 of them with sound and picture"}.items():
        assert words in replace(real, material=(7680, 6324, both)).about()[0]
    assert "of one person whom" in replace(real, testers=1, intervals={}).about()[1]
    score = replace(real, is_score=True, imported="It was imported from a.pth.").about()
    assert "guessing" not in score[1] and score[0] == "This network is tested on RAVDESS. It was imported from a.pth."


def test_the_page_needs_no_other_file_and_begins_with_what_to_know(film, drawn):
    windows = replace(read_windows(film, **SIZES), name="<b>me</b>.mp4")
    prediction = predict_windows(build_model("ia", classes=4, image_size=64), windows, drawn)
    text = prediction.as_page(plots.probabilities(prediction.table, windows, prediction.labels))
    assert not re.search(r"https?:|<script|<link", text) and "<b>me" not in text
    assert text.index("means nothing") < text.index("The answer</h2>") < text.index("data:image/png;base64,")
    cells = re.findall(r"<td>([\d.]+)</td>", text)
    assert len(cells) == len(prediction.table) * 4
    first = prediction.table.iloc[0]
    assert cells[:4] == [f"{100 * first[label]:.1f}" for label in "abcd"]
    assert all(sentence in unescape(text).replace("\xa0", " ") for sentence in prediction.sentences())


def test_the_middle_window_is_compared_with_evaluation(drawn):
    values = [(0, "A", 0.7), (1, "A", 0.2), (2, "A", 0.3), (0, "V", 0.9), (2, "V", 0.8)]  # window, condition, a
    table = pd.DataFrame([(*row, 1 - row[2], 0, 0) for row in values], columns=["window", "condition", *"abcd"])
    prediction = Prediction(SimpleNamespace(middle=1), table, drawn)
    own = prediction.middle()
    assert own.index.tolist() == ["A"] and own.loc["A"].tolist() == pytest.approx([0.2, 0.8, 0, 0])
    written = pd.DataFrame([("A", 0.2, 0.7, 0.1, 0)], columns=["condition", "p0", "p1", "p2", "p3"])
    assert prediction.difference(written) == pytest.approx(0.1)


# a trained run


@pytest.fixture(scope="module")
def run(smoke):
    return open_trained(smoke, device="cpu")


@pytest.fixture(scope="module")
def predictor(run):
    return predictor_of(run)


def test_a_test_clip_gets_the_very_numbers_of_evaluation(run, predictor):
    written = pd.read_parquet(run.folder / "predictions.parquet")
    for name in written["clip"].unique()[[0, 13, -1]]:
        clip = run.store.clips.set_index("clip").loc[name]
        prediction = predictor(clip["video_path"], clip["audio_path"])
        # The notebook's kernel may have had another number of threads, which rounds differently.
        assert prediction.difference(written[written["clip"] == name]) < 2e-6
    assert evaluation_sentence(run, prediction, choose_clip(run)._replace(name=name)).startswith("**")
    assert (
        evaluation_sentence(run, prediction, choose_clip(run, "own.mp4")) == "Evaluation has no numbers of this clip."
    )


def test_with_as_many_threads_a_test_clip_gets_them_to_the_last_digit(run, predictor):
    from workbook.evaluate.conditions import paper_conditions
    from workbook.evaluate.evaluation import predict

    every = predict(run.network, run.test, paper_conditions("softhard")[:3], fold=0, seed=1)
    film, sound, name = choose_clip(run)
    assert predictor(film, sound).difference(every[every["clip"] == name]) == 0


def test_the_command_answers_and_writes_a_page_and_all_probabilities(smoke, film, tmp_path):
    html, data = tmp_path / "page.html", tmp_path / "all.json"
    done = CliRunner().invoke(
        main, ["predict", str(film), "--run", str(smoke), "--html", str(html), "--json", str(data), "--anyway"]
    )
    assert done.exit_code == 0, done.output
    record = json.loads(data.read_text())
    assert done.output.index("means nothing") < done.output.index("AV, from sound and picture")
    assert next(iter(record)) == "know_first" and record["learnt_from"]["toy"] is True and record["clip"] == "own.mp4"
    assert len(record["windows"]) == 3 and set(record["mean"]) == {"AV", "A", "V"}
    assert str(html) in done.output and "<figure>" in html.read_text()


def test_a_network_of_drawn_faces_shows_no_answer_to_a_clip_of_ones_own_unless_asked(run, film, tmp_path):
    page, data, predictor = tmp_path / "page.html", tmp_path / "all.json", predictor_of(run)
    prediction = predictor(film, anyway=False)
    words = write_prediction(prediction, page, data)
    assert "No answer is shown" in words and "%" not in words
    record = json.loads(data.read_text())
    assert record["withheld"] and not any(window["AV"] for window in record["windows"])
    assert "No answer is shown" in page.read_text() and "Window by window" not in page.read_text()
    assert not predictor(choose_clip(run).film, choose_clip(run).sound, anyway=False).is_withheld, "of its corpus"
    assert not predictor(film).is_withheld, "who asks in Python has asked"


def test_faces_that_lie_or_change_are_doubted(person):
    boxes, _ = FaceDetector().detect(person)
    faces = np.stack([crop_face(frame, box, 64) for frame, box in zip(person, boxes, strict=True)])
    times = np.arange(len(faces)) / FPS
    assert doubts(faces, times) == []
    assert "do not look upright" in doubts(np.rot90(faces, 1, (1, 2)), times)[0]
    other = np.concatenate([faces[:10], faces[10:, :, :, ::-1] // 2])  # another skin and hair
    assert doubts(other, times) == ["At 2.0 s the face changes all at once: perhaps a cut, or another person."]


@pytest.mark.parametrize(
    ("html", "json", "sentence"),
    [
        ("me.wav", None, "me.wav is an input"),
        (None, "run/model.safetensors", "model.safetensors is an input"),
        ("new", "new", "new is another output"),
        ("link", None, "link is a link"),
        ("pipe", None, "pipe cannot be written: it is no regular file"),
    ],
)
def test_no_output_of_the_command_replaces_an_input_or_what_is_no_file(tmp_path, monkeypatch, html, json, sentence):
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir(), Path("link").symlink_to("me.wav"), os.mkfifo("pipe")
    for name in ("me.wav", "sound.wav", "run/run.json", "run/model.safetensors"):
        Path(name).write_text("all I have")
    options = ["--html", html] * bool(html) + ["--json", json] * bool(json)
    done = CliRunner().invoke(main, ["predict", "me.wav", "--sound", "sound.wav", "--run", "run", *options])
    assert done.exit_code == 2 and sentence in done.output and done.output.count("\n") == 1, done.output
    assert {path.read_text() for path in tmp_path.rglob("*.*")} == {"all I have"}
    assert sorted(os.listdir()) == ["link", "me.wav", "pipe", "run", "sound.wav"]


def test_a_run_of_features_cannot_answer_and_one_whose_corpus_is_gone_can(smoke, film, tmp_path):
    moved = tmp_path / "run"
    moved.mkdir()
    record = json.loads((smoke / "run.json").read_text())
    shutil.copy(smoke / "model.safetensors", moved)
    real = record["parameters"] | {"dataset": "ravdess", "data_root": str(tmp_path / "gone")}
    (moved / "run.json").write_text(json.dumps(record | {"parameters": real}))
    run = open_trained(moved, device="cpu")
    predictor = predictor_of(run)
    assert predictor.card.corpus == "RAVDESS" and not predictor.card.is_toy
    assert len(predictor(film).windows.starts) == 3
    with pytest.raises(InputError, match=r"data_root is .*, which is no folder"):
        choose_clip(run)
    with pytest.raises(InputError, match=r"has learnt from features .*: give a run of a dataset of clips"):
        predictor_of(replace(run, parameters=Parameters(dataset="mosei")))


def test_the_buttons_show_the_answer_to_a_file_and_to_a_recording_or_why_there_is_none(film, predictor):
    spy = Mock(wraps=predictor, card=predictor.card)
    upload = upload_button(spy)
    given = {"name": "<me>.mp4", "type": "video/mp4", "size": 1, "last_modified": 0}
    upload._on_file({"new": ({**given, "content": memoryview(film.read_bytes())},)})
    assert "No answer is shown" in upload.message.value and not upload.anyway.value
    upload.anyway.value = True
    upload.webcam._handle_custom_msg({"name": "webcam.webm"}, [memoryview(film.read_bytes())])
    assert "from sound and picture" in upload.message.value and bytes(upload.picture.value).startswith(b"\x89PNG")
    assert not spy.call_args.args[0].exists(), "nothing is left of the file"
    upload._on_file({"new": ({**given, "content": memoryview(b"")},)})
    assert upload.message.value == "&lt;me&gt;.mp4 is empty (0 bytes)" and upload.picture.layout.display == "none"


def test_the_notebook_goes_through_with_a_test_clip_and_with_a_clip_of_ones_own(smoke, film, tmp_path):
    for clip in ("", str(film)):
        given = {"run": str(smoke), "clip": clip, "out": str(tmp_path)}
        with without_kernels():
            papermill.execute_notebook(ROOT / "notebooks" / "predict.ipynb", None, parameters=given, progress_bar=False)
    pages = {path.stem: json.loads(path.read_text())["clip"] for path in tmp_path.glob("*.json")}
    assert len(pages) == 2 and pages["own"] == "own.mp4"
