"""Twelve bad inputs planted among good ones: each ends as a sentence or as correct output, and no neighbour is lost."""

import os
import shutil

import numpy as np
import pytest
import soundfile
from test_media import tone, write_video

from workbook.data.build import build_store
from workbook.data.ravdess import find_trials
from workbook.data.window import SAMPLE_RATE
from workbook.toy import corpus as toy

FRAMES, SIZE = 7, 32


def clip(number):
    """The six fields of the name of the number-th clip of this corpus."""
    return f"01-03-01-01-01-{number:02d}"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The store of a corpus with good clips 1 and 24 and the bad ones between them."""
    root = tmp_path_factory.mktemp("corpus")
    good = toy.plan_clip(0, 1, "happy", 0)
    good.write(root)
    film, sound = good.path(root, "mp4"), good.path(root, "wav")

    def place(source, number, modality):
        shutil.copy(source, root / f"{modality}-{clip(number)}{source.suffix}")

    place(film, 24, "01"), place(sound, 24, "03")

    # 2: the film is cut in the middle        3: no picture track        4: an empty film, alone
    (root / f"01-{clip(2)}.mp4").write_bytes(film.read_bytes()[: film.stat().st_size // 2]), place(sound, 2, "03")
    write_video(root / f"01-{clip(3)}.mp4", None, tone(440, 3))
    (root / f"01-{clip(4)}.mp4").touch()
    # 5: text called wav, beside a good film        6: a letter in the name        7: one frame
    (root / f"03-{clip(5)}.wav").write_text("I am text\n" * 999), place(film, 5, "01")
    shutil.copy(sound, root / "03-01-0x-01-01-01-06.wav")
    write_video(root / f"01-{clip(7)}.mp4", np.full((1, 96, 96, 3), 99, np.uint8)), place(sound, 7, "03")
    # 8: a film without a sound track, 18: one with digital silence        9: a film of no face
    pictures = good.frames()
    write_video(root / f"01-{clip(8)}.mp4", pictures, fps=toy.FPS)
    write_video(root / f"01-{clip(18)}.mp4", pictures, np.zeros(3 * SAMPLE_RATE), fps=toy.FPS)
    write_video(root / f"01-{clip(9)}.mp4", np.full((45, 96, 96, 3), 99, np.uint8), tone(440, 3), fps=15)
    # 10: stereo at 96 kHz        11: 0.3 s        12: 20 s        13: in a folder that cannot be read
    soundfile.write(root / f"03-{clip(10)}.wav", np.stack([tone(440, 4, 96_000)] * 2, 1), 96_000)
    write_video(root / f"01-{clip(11)}.mp4", pictures[: round(0.3 * toy.FPS)], tone(440, 0.3), fps=toy.FPS)
    long = np.concatenate([pictures] * 9)[: 20 * toy.FPS]
    write_video(root / f"01-{clip(12)}.mp4", long, tone(440, 20), fps=toy.FPS)
    (root / "locked").mkdir()
    shutil.copy(sound, root / "locked" / f"03-{clip(13)}.wav")

    scandir = os.scandir

    def refuse_locked(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", refuse_locked)
        found = find_trials(root)
    settings = {"frames": FRAMES, "image_size": SIZE, "workers": 1, "progress": False}
    return build_store(tmp_path_factory.mktemp("stores") / "bad", *found, **settings)


def row_of(store, number):
    (row,) = np.flatnonzero(store.clips["clip"] == clip(number))
    return row


# number: (sound is there, picture is there, what the problem says; None where it is no problem)
OUTCOMES = {
    2: (True, False, "cut short"),
    3: (True, False, "has no picture track"),
    5: (False, True, "cannot be read as wav"),
    7: (True, False, "too short"),
    8: (False, True, "has no sound track"),
    18: (False, True, "is silent"),
    9: (True, False, "no face found in any"),
    10: (True, False, None),
    11: (True, True, None),
    12: (True, True, None),
    1: (True, True, None),
    24: (True, True, None),
}


@pytest.mark.parametrize("number", OUTCOMES)
def test_what_can_be_used_of_a_clip_stays_and_the_rest_is_said(store, number):
    has_audio, has_video, says = OUTCOMES[number]
    row = row_of(store, number)
    assert (store.clips["has_audio"][row], store.clips["has_video"][row]) == (has_audio, has_video)
    assert store.audio[row].any() == has_audio and store.video[row].any() == has_video
    problems = store.problems[store.problems["clip"] == clip(number)]
    assert len(problems) == (says is not None)
    for problem in problems.to_dict("records"):
        assert says in problem["reason"] and clip(number) in problem["path"]
        assert problem["modality"] == ("audio" if not has_audio else "video")


def test_there_is_no_row_and_no_problem_beyond_the_planted_and_good_neighbours_are_equal(store):
    assert sorted(store.clips["actor"]) == sorted(OUTCOMES)
    kept = [clip(number) for number, (*_, says) in OUTCOMES.items() if says is not None]
    others = store.problems[~store.problems["clip"].isin(kept)]
    assert len(store.problems) == len(kept) + 3
    for says, name in {"Permission denied": "", "empty (0 bytes)": clip(4), "emotion field": ""}.items():
        assert others["clip"][others["reason"].str.contains(says, regex=False)].tolist() == [name]
    first, last = row_of(store, 1), row_of(store, 24)
    np.testing.assert_array_equal(store.video[first], store.video[last])
    np.testing.assert_array_equal(store.audio[first], store.audio[last])


def test_a_clip_of_a_fraction_of_a_second_is_padded_and_a_long_one_is_cut_in_its_middle(store):
    short, long = row_of(store, 11), row_of(store, 12)
    assert store.clips["window_start"][short] == 0
    assert [bool(frame.any()) for frame in store.video[short]] == [True] + [False] * (FRAMES - 1)
    assert store.clips["duration"][long] == pytest.approx(20, abs=0.1)
    assert store.clips["window_start"][long] == pytest.approx(8.2, abs=0.05)
    assert all(frame.any() for frame in store.video[long])
