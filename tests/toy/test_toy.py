"""The toy corpus: what it writes, what it shows, and what nothing can tell from it."""

from dataclasses import replace

import av
import numpy as np
import pandas as pd
import pytest
from facenet_pytorch import MTCNN

from workbook import InputError
from workbook.data.datasets import read_truth
from workbook.data.media import read_audio
from workbook.data.ravdess import EMOTIONS, find_trials
from workbook.data.window import SAMPLE_RATE, WINDOW
from workbook.toy import corpus as toy
from workbook.toy.clip_files import truth_of
from workbook.toy.face import FPS
from workbook.toy.voice import STEP

ACTORS, SEED = 2, 3
MARGIN = 0.01  # seconds either side of a cue that are neither inside nor outside of it
FULL = truth_of(toy.plan_corpus(0, 24, 2))  # the truth of the whole corpus, which costs no drawing


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy") / "corpus"
    toy.make_corpus(root, seed=SEED, actors=ACTORS, takes=1, workers=2, progress=False)
    return root


def decoded(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def twin(clip, **changes):
    """A clip that takes its random numbers from another one."""
    other = replace(clip, **changes)
    object.__setattr__(other, "generator", clip.generator)
    return other


def twins(emotion, other, take=0):
    """Two clips that differ in the emotion only."""
    clip = toy.plan_clip(SEED, 1, emotion, take)
    return clip, twin(clip, emotion=other)


def test_every_clip_is_a_trial_with_picture_and_sound(corpus):
    trials, problems = find_trials(corpus)
    assert len(problems) == 0 and len(trials) == ACTORS * len(EMOTIONS)
    assert (trials.video_path != "").all() and (trials.audio_path != "").all()
    truth = read_truth(corpus).set_index("clip")
    pd.testing.assert_series_equal(trials.set_index("clip").emotion.sort_index(), truth.emotion.sort_index())


def test_one_process_makes_what_two_make(corpus, tmp_path):
    toy.make_corpus(tmp_path, seed=SEED, actors=1, takes=1, workers=1, progress=False)
    for row in read_truth(tmp_path).itertuples():
        film, sound = f"Actor_01/01-{row.clip}.mp4", f"Actor_01/03-{row.clip}.wav"
        np.testing.assert_array_equal(decoded(tmp_path / film), decoded(corpus / film))
        for name in (film, sound):
            np.testing.assert_array_equal(read_audio(tmp_path / name), read_audio(corpus / name))


def test_only_what_is_missing_is_made_again(corpus):
    films = sorted(corpus.rglob("*.mp4"))
    before = decoded(films[5])
    ages = {path: path.stat().st_mtime_ns for path in corpus.rglob("*.*") if path.suffix in (".mp4", ".wav")}
    films[5].unlink()
    (corpus / "truth.parquet").unlink()
    toy.make_corpus(corpus, seed=SEED, actors=ACTORS, takes=1, workers=1, progress=False)
    changed = {path for path, age in ages.items() if path.stat().st_mtime_ns != age}
    assert {path.name[3:-4] for path in changed} == {films[5].name[3:-4]}
    np.testing.assert_array_equal(decoded(films[5]), before)
    assert len(read_truth(corpus)) == ACTORS * len(EMOTIONS)
    assert not list(corpus.rglob(".*"))


@pytest.mark.parametrize("other", [{"seed": SEED + 1}, {"actors": ACTORS + 1}, {"takes": 2}])
def test_another_corpus_in_the_same_folder_is_refused(corpus, other):
    with pytest.raises(InputError, match="not this toy corpus: give an empty folder"):
        toy.make_corpus(corpus, **{"seed": SEED, "actors": ACTORS, "takes": 1, **other}, progress=False)


def test_face_and_voice_together_name_the_emotion_and_alone_do_not():
    assert FULL.groupby(["face_group", "voice_group"]).emotion.nunique().eq(1).all()
    for column in ("face_group", "voice_group"):
        assert sorted(FULL.groupby(column).emotion.nunique()) == [1, 1, 2, 2, 2]


def test_cues_lie_inside_the_clip_and_its_central_window():
    margin = np.maximum(0, (FULL.duration - WINDOW) / 2)
    for cue in ("face", "voice"):
        start, end = FULL[f"{cue}_start"], FULL[f"{cue}_end"]
        assert (start >= margin).all() and (end <= FULL.duration - margin).all()
        assert (end - start).between(1.2, 2.2).all()
    assert (FULL.duration < WINDOW).any() and (FULL.duration > WINDOW).any()
    spare = FULL.duration.clip(upper=WINDOW)
    place = [(FULL[f"{cue}_start"] + FULL[f"{cue}_end"] - FULL.duration) / spare for cue in ("face", "voice")]
    assert abs(np.corrcoef(*place)[0, 1]) < 0.2, "drawn independently: four standard errors of 384 clips"


def test_without_the_cue_the_faces_of_all_emotions_are_equal():
    for emotion in EMOTIONS[1:]:
        clip, other_clip = twins("neutral", emotion)
        film, other = clip.frames(), other_clip.frames()
        times = np.arange(len(film)) / FPS
        away = (times < clip.face[0] - MARGIN) | (times > clip.face[1] + MARGIN)
        assert 5 < away.sum() < len(film)
        np.testing.assert_array_equal(film[away], other[away])
        middle = abs(times - sum(clip.face) / 2) < 0.4
        change = np.abs(film[middle].astype(int) - other[middle]).mean()
        assert (change > 0.8) == (toy.FACE_GROUPS[emotion] != "rest"), (emotion, change)


def test_emotions_of_one_group_look_or_sound_the_same():
    for table, made in ((toy.FACE_GROUPS, toy.Clip.frames), (toy.VOICE_GROUPS, toy.Clip.samples)):
        for emotion, other in (("fearful", "surprised"), ("fearful", "angry"), ("happy", "surprised"), ("sad", "calm")):
            same = np.array_equal(*(made(clip) for clip in twins(emotion, other)))
            assert same == (table[emotion] == table[other])


def test_before_its_cue_the_voice_is_the_same_whatever_follows():
    for emotion in EMOTIONS[1:]:
        clip, other_clip = twins("neutral", emotion)
        plain, other = clip.samples(), other_clip.samples()
        start, end = (round(second * SAMPLE_RATE) for second in clip.voice)
        np.testing.assert_array_equal(plain[: start - STEP], other[: start - STEP])
        assert np.abs(plain[start:end] - other[start:end]).mean() > 0.1 * np.abs(plain[start:end]).mean()


def test_a_loud_cue_is_loud_and_the_voice_after_it_is_not():
    clip, other_clip = next(pair for take in range(4) if (pair := twins("neutral", "angry", take))[0].voice[1] < 2.6)
    plain, cued = clip.samples(), other_clip.samples()
    start, end = (round(second * SAMPLE_RATE) for second in clip.voice)
    rise = lambda part: 20 * np.log10(np.std(cued[part]) / np.std(plain[part]))  # noqa: E731
    assert rise(slice(start, end)) > 4
    assert abs(rise(slice(end + 9 * STEP, None))) < 2


def test_mtcnn_finds_the_face_with_its_cue_and_without(corpus):
    shown = []
    for row in read_truth(corpus).itertuples():
        film = decoded(corpus / f"Actor_{row.actor:02}" / f"01-{row.clip}.mp4")
        shown += [film[round((row.face_start + row.face_end) / 2 * FPS)], film[0]]
    _, confidence = MTCNN(min_face_size=21).detect(np.stack(shown))
    assert min(frame[0] or 0 for frame in confidence) > 0.95


def test_a_frame_is_labelled_by_what_it_shows_at_its_time(corpus):
    truth = read_truth(corpus).set_index("clip")
    truth = truth[truth.emotion.isin(["happy", "calm"])][::-1]  # in another order than the truth
    starts = truth.face_start - 1.0  # each window begins a second before its cue
    labels = toy.frame_labels(corpus, pd.DataFrame({"clip": truth.index, "window_start": starts.array}), 36)
    for emotion, row, length in zip(truth.emotion, labels, truth.face_end - truth.face_start, strict=True):
        smiles = np.flatnonzero(row == "smile")  # frame k is k / 10 + 0.05 seconds into the window
        assert set(row) == ({"smile", "rest"} if emotion == "happy" else {"rest"})
        assert emotion == "calm" or (smiles[0] == 11 and abs(len(smiles) - (length / 0.1 - 1)) < 1)
