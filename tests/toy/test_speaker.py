"""The toy speakers as clips: what is written, what tells the speaker, and what tells nothing."""

from itertools import product

import numpy as np
import pytest
from facenet_pytorch import MTCNN
from sklearn.linear_model import LogisticRegression
from test_toy import twin

from workbook.data.audio import mfcc
from workbook.data.build import build_store
from workbook.data.datasets import read_truth
from workbook.data.ravdess import EMOTIONS, find_trials
from workbook.data.window import WINDOW, cut_window
from workbook.toy import face
from workbook.toy import speaker as toy
from workbook.toy.clip_files import truth_of

FULL = toy.plan_corpus(0, 24, toy.MAX_TAKES)  # all clips that have names, which costs no drawing
TRUTH = truth_of(FULL)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("speaker") / "corpus"
    toy.make_corpus(root, seed=3, actors=1, takes=1, workers=1, progress=False)
    return root


@pytest.fixture(scope="module")
def store(corpus):
    settings = {"frames": 6, "image_size": 64, "workers": 1, "progress": False}
    return build_store(corpus.with_name("store"), *find_trials(corpus), **settings)


def test_every_clip_goes_through_the_pipeline_with_picture_and_sound(corpus, store):
    assert sorted(store.clips["clip"]) == sorted(read_truth(corpus)["clip"])
    assert len(store) == len(EMOTIONS) and not len(store.problems)
    assert store.clips[["has_audio", "has_video"]].all(axis=None)
    assert (store.clips["window_start"] == 0).all() and (store.clips["duration"].round(2) == WINDOW).all()
    assert store.video.any(axis=(2, 3, 4)).all(), "every frame shows a face"


def test_every_stored_frame_is_labelled_by_its_person_and_expression(corpus, store):
    shuffled = store.clips[::-1]
    labels = toy.frame_labels(corpus, shuffled, 6)
    truth = read_truth(corpus).set_index("clip")
    for clip, row in zip(shuffled["clip"], labels, strict=True):
        kinds, shown = truth.loc[clip, "kinds"].split(), truth.loc[clip, "expressions"].split()
        people = [f"{kind} {name}" for kind, name in zip(kinds, shown, strict=True)]
        assert list(row) == [person for person in people for _ in range(2)]
        assert f"{truth.loc[clip, 'kind']} {toy.EXPRESSIONS[truth.loc[clip, 'emotion']]}" in people
    assert len(set(toy.frame_labels(corpus, shuffled, 7)[0])) == 3


def test_each_clip_shows_one_of_each_kind_and_three_emotions_of_the_voice_group():
    groups = {toy.EXPRESSIONS[emotion]: heard for emotion, heard in toy.VOICE_GROUPS.items()}
    assert set(toy.EXPRESSIONS) == set(toy.VOICE_GROUPS) == set(EMOTIONS) and len(groups) == len(EMOTIONS)
    for row in TRUTH.itertuples():
        kinds, shown = row.kinds.split(), row.expressions.split()
        assert sorted(kinds) == sorted(face.KINDS) and len(set(shown)) == 3
        assert {groups[name] for name in shown} == {toy.VOICE_GROUPS[row.emotion]}
        assert shown[kinds.index(row.kind)] == toy.EXPRESSIONS[row.emotion]
        assert row.face_start == pytest.approx(kinds.index(row.kind) * WINDOW / 3)
        assert row.face_end - row.face_start == pytest.approx(WINDOW / 3)
    assert TRUTH["face_shows"].all() and not TRUTH["voice_shows"].any()


def test_without_looking_up_the_speaker_one_of_three_is_the_best_answer():
    known = TRUTH.assign(heard=TRUTH["emotion"].map(toy.VOICE_GROUPS))
    known["faces"] = known["expressions"].str.split().map(sorted).str.join(" ")
    groups = {"A": ["heard", "kind"], "V": ["faces"], "without an exchange": ["heard", "faces"]}
    for condition, columns in groups.items():
        right = known.groupby(columns).emotion.agg(lambda emotions: emotions.value_counts().max()).sum()
        assert 100 * right / len(known) == pytest.approx(toy.reachable()[condition]["accuracy"], abs=6)
    assert known.groupby(["kinds", "expressions", "kind"]).emotion.nunique().eq(1).all()


def test_a_voice_tells_its_kind_and_its_group_and_no_more():
    clip = next(clip for clip in FULL if clip.emotion == "sad")
    for emotion in EMOTIONS:
        same = np.array_equal(twin(clip, emotion=emotion).samples(), clip.samples())
        assert same == (toy.VOICE_GROUPS[emotion] == toy.VOICE_GROUPS["sad"])
    others = clip.turns._replace(kinds=clip.turns.kinds[::-1], speaker=2 - clip.turns.speaker)
    np.testing.assert_array_equal(twin(clip, turns=others).samples(), clip.samples())


def test_the_kind_of_speakers_not_met_is_heard():
    clips = [clip for clip in FULL if clip.take == 0 and clip.emotion in ("calm", "angry")]
    heard = np.stack([mfcc(cut_window(clip.samples(), 0.0)) for clip in clips])
    described = np.concatenate([heard.mean(axis=2), heard.std(axis=2)], axis=1)
    kinds = np.array([clip.turns.kinds[clip.turns.speaker] for clip in clips])
    met = np.array([clip.actor <= 12 for clip in clips])
    learnt = LogisticRegression(max_iter=10_000).fit(described[met], kinds[met])
    assert learnt.score(described[~met], kinds[~met]) > 0.9


def test_mtcnn_finds_every_kind_with_every_expression():
    shown, rng = [], np.random.default_rng(0)
    for kind, expression in product(face.KINDS, face.EXPRESSIONS.values()):
        shown.append(face.film(face.draw_person(kind, rng), expression, np.ones(2), rng, toy.FPS)[1])
    _, confidence = MTCNN(min_face_size=21).detect(np.stack(shown))
    assert min(frame[0] or 0 for frame in confidence) > 0.9


def test_a_film_has_the_same_bytes_whatever_was_in_memory_before(tmp_path):
    clip = next(clip for clip in FULL if clip.name == "01-07-01-01-01-01")
    films, rng = set(), np.random.default_rng(0)
    for _ in range(12):
        used = [rng.bytes(int(rng.integers(1, 400_000))) for _ in range(20)]
        del used
        clip.write(tmp_path)
        films.add(clip.path(tmp_path, "mp4").read_bytes())
    assert len(films) == 1
