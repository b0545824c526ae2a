"""Names to trials, trials to folds and labels. Empty files do: nothing here looks inside them."""

import numpy as np
import pandas as pd
import pytest

from workbook import InputError
from workbook.data.folds import FOLDS, OF_CLIPS, folds, split_rows
from workbook.data.ravdess import EMOTIONS, find_trials

CLIPS = pd.DataFrame({"actor": [1, 2, 3, 4]})
WOMEN, MEN = set(range(2, 25, 2)), set(range(1, 25, 2))


@pytest.fixture
def corpus(tmp_path):
    """Makes empty files below a folder and returns the folder."""

    def plant(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return plant


def test_the_three_files_of_a_trial_become_one_row_whatever_the_folders_are_called(corpus):
    root = corpus("a/01-01-03-02-01-02-05.mp4", "b/c/02-01-03-02-01-02-05.mp4", "d e/03-01-03-02-01-02-05.WAV")
    trials, problems = find_trials(root)
    assert problems.empty
    (trial,) = trials.to_dict("records")
    assert trial["clip"] == "01-03-02-01-02-05" and trial["actor"] == 5
    assert trial["label"] == 2 and trial["emotion"] == "happy" == EMOTIONS[2]
    assert trial["video_path"].endswith("a/01-01-03-02-01-02-05.mp4")
    assert trial["audio_path"].endswith("d e/03-01-03-02-01-02-05.WAV")


@pytest.mark.parametrize(
    "files, video, audio",
    [
        (["02-%s.mp4"], "02-%s.mp4", ""),
        (["01-%s.mp4"], "01-%s.mp4", "01-%s.mp4"),
        (["03-%s.flac"], "", "03-%s.flac"),
        (["02-%s.mp4", "03-%s.flac", "03-%s.wav"], "02-%s.mp4", "03-%s.wav"),
        (["z/03-%s.wav", "a/03-%s.flac", "b/03-%s.wav"], "", "b/03-%s.wav"),
    ],
)
def test_each_modality_comes_from_the_preferred_file(corpus, files, video, audio):
    clip = "01-03-02-01-02-05"
    root = corpus(*(name % clip for name in files))
    trials, _ = find_trials(root)
    assert len(trials) == 1
    for column, name in (("video_path", video), ("audio_path", audio)):
        assert trials[column][0] == (str(root / (name % clip)) if name else "")


def test_other_kinds_of_file_are_passed_over_in_silence_and_wrong_names_are_not(corpus):
    root = corpus("03-01-03-02-01-02-05.wav", "readme.txt", "x.npy", "._03-01-03-02-01-02-05.wav", "b.wav", "a.mp4")
    (root / "02-01-03-02-01-02-06.wav").touch()
    trials, problems = find_trials(root)
    assert len(trials) == 1
    assert list(problems["path"]) == [str(root / name) for name in ("02-01-03-02-01-02-06.wav", "a.mp4", "b.wav")]
    assert "modality 02 and '.wav' contradict each other" in problems["reason"][0]


def test_linked_folders_are_entered_once_even_when_they_lead_back(corpus, tmp_path):
    root = corpus("corpus/a/03-01-03-02-01-02-05.wav", "elsewhere/03-01-03-02-01-02-06.wav") / "corpus"
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "back").symlink_to(root)
    trials, _ = find_trials(root)
    assert list(trials["actor"]) == [5, 6]


@pytest.mark.parametrize("files", [[], ["notes.txt"], ["nonsense.wav"], ["03-02-03-02-01-02-05.wav"]])
def test_a_folder_without_a_speech_clip_is_an_input_error(corpus, files, tmp_path):
    corpus(*files)
    with pytest.raises(InputError, match=r"holds no speech clip.*Actor_05/03-"):
        find_trials(tmp_path)
    with pytest.raises(InputError, match="nowhere cannot be read now: No such file"):
        find_trials(tmp_path / "nowhere")


def sets(scheme):
    """The actors of every part of every fold: {(fold, part): set}."""
    return {key: set(rows["actor"]) for key, rows in folds(scheme).groupby(["fold", "split"])}


def test_a_fold_of_the_paper_tests_two_women_and_two_men_fold_0_those_of_the_authors_and_validates_on_the_next():
    actors = sets("paper")
    assert actors[0, "test"] == {5, 10, 16, 19} and actors[0, "validation"] == {11, 13, 18, 22}
    assert len(set.union(*(actors[fold, "test"] for fold in range(5)))) == 20
    for fold in range(5):
        assert len(actors[fold, "test"] & WOMEN) == len(actors[fold, "test"] & MEN) == 2
        assert actors[fold, "validation"] == actors[(fold + 1) % 5, "test"]


def test_a_split_gives_positions_whatever_the_index_of_the_table_is():
    clips = pd.DataFrame({"actor": [19, 1, 11, 5, 1]}, index=[7, 7, 3, 2, 0])
    parts = split_rows(clips, 0)
    assert {name: list(rows) for name, rows in parts.items()} == {"train": [1, 4], "validation": [2], "test": [0, 3]}


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: split_rows(CLIPS, 9), "fold is 9; it must be a whole number from 0 to 4 in"),
        (lambda: split_rows(CLIPS, 1, "authors"), "fold is 1; it must be 0, the only one in"),
        (lambda: split_rows(CLIPS, 0, "own"), "needs a dataset with its own split.*choose one of paper, "),
        (lambda: split_rows(CLIPS, 0, "groups"), "at least 5 actors, this corpus has 4: choose own for films"),
        (lambda: folds("own"), "there is no fold scheme 'own' of actors: choose one of paper, authors, luna, loso, g"),
    ],
)
def test_an_unknown_fold_or_scheme_is_an_input_error(wrong, says):
    with pytest.raises(InputError, match=says):
        wrong()


@pytest.mark.parametrize("scheme", [scheme for scheme in FOLDS if scheme not in OF_CLIPS])
def test_every_scheme_has_its_folds_and_every_fold_each_actor_in_one_part(scheme):
    table = folds(scheme, range(1, 25))
    assert sorted(set(table["fold"])) == list(range(FOLDS[scheme]))
    assert not table.duplicated(["fold", "actor"]).any() and len(table) == 24 * FOLDS[scheme]
    assert (table.groupby("fold")["split"].nunique() == 3).all()


def test_the_luna_scheme_is_the_published_one_and_validates_on_the_next_fold():
    published = [{2, 5, 14, 15, 16}, {3, 6, 7, 13, 18}, {10, 11, 12, 19, 20}, {8, 17, 21, 23, 24}, {1, 4, 9, 22}]
    luna = sets("luna")
    assert [luna[fold, "test"] for fold in range(5)] == published
    assert [luna[fold, "validation"] for fold in range(5)] == published[1:] + published[:1]


def test_leaving_one_speaker_out_tests_each_alone_and_validates_on_the_two_after():
    loso = sets("loso")
    assert [loso[fold, "test"] for fold in range(24)] == [{actor} for actor in range(1, 25)]
    assert loso[0, "validation"] == {2, 3} and loso[22, "validation"] == {24, 1} and loso[23, "validation"] == {1, 2}
    assert all(len(loso[fold, "validation"] & WOMEN) == 1 for fold in range(24))


@pytest.mark.parametrize("names", [range(100, 131), [f"film {k}" for k in range(31)]])
def test_groups_of_any_name_and_size_are_each_tested_once_in_folds_of_about_equal_size(names):
    rng = np.random.default_rng(0)
    clips = pd.DataFrame({"actor": np.repeat(np.array(names), rng.integers(1, 40, 31))}).sample(frac=1, random_state=0)
    parts = [split_rows(clips, fold, "groups") for fold in range(5)]
    assert sorted(np.concatenate([part["test"] for part in parts])) == list(range(len(clips)))
    for fold, part in enumerate(parts):
        actors = [set(clips["actor"].iloc[rows]) for rows in part.values()]
        assert sum(map(len, actors)) == len(set.union(*actors)) == 31, "each is in one part"
        assert abs(len(part["test"]) - len(clips) / 5) < 40
        np.testing.assert_array_equal(part["validation"], parts[(fold + 1) % 5]["test"])


def test_the_scheme_clips_tests_each_clip_once_whatever_their_order_and_warns_that_people_leak(caplog):
    clips = pd.DataFrame({"clip": [f"{k:04}" for k in range(731)], "actor": np.arange(731) % 24})
    parts = [split_rows(clips, fold, "clips") for fold in range(5)]
    assert "the test has people of the training split" in caplog.text
    assert sorted(np.concatenate([part["test"] for part in parts])) == list(range(731))
    for fold, part in enumerate(parts):
        assert sorted(np.concatenate(list(part.values()))) == list(range(731))
        assert len(part["test"]) in (146, 147) and clips["actor"].iloc[part["test"]].nunique() == 24
        np.testing.assert_array_equal(part["validation"], parts[(fold + 1) % 5]["test"])
    turned = clips.iloc[::-1].reset_index(drop=True)
    again = set(turned["clip"].iloc[split_rows(turned, 3, "clips")["test"]])
    assert again == set(clips["clip"].iloc[parts[3]["test"]])


@pytest.mark.shared
def test_the_real_corpus_is_1440_trials_without_a_problem(shared):
    trials, problems = find_trials(shared / "ravdess")
    assert len(trials) == 1440 and problems.empty
    assert (trials["actor"].value_counts() == 60).all()
    assert (trials["audio_path"] != "").all() and (trials["video_path"] != "").sum() == 14
    sizes = {part: len(rows) for part, rows in split_rows(trials, 0).items()}
    assert sizes == {"train": 960, "validation": 240, "test": 240}
