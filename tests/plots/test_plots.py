"""Figures hold the numbers they were given, at the seconds they belong to."""

import subprocess
import sys
from io import BytesIO

import matplotlib
import nbformat
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from nbclient import NotebookClient
from scipy.stats import zscore

from workbook import ROOT, InputError, plots
from workbook.data.window import HOP, SAMPLE_RATE, WINDOW
from workbook.plots import training

Ta, Tv, S, BANDS, STEPS = 151, 7, 11, 61, 157
AUDIO_TIMES = (np.arange(Ta) + 3) * HOP / SAMPLE_RATE
VIDEO_TIMES = (np.arange(Tv) + 0.5) * WINDOW / Tv
TIMES = {"audio": AUDIO_TIMES, "video": VIDEO_TIMES}
PLACE = plots.PLACE
EMOTIONS = ["neutral", "calm", "happy"]
ROW = {
    "epoch": 1,
    "train_loss": 2.0,
    "train_accuracy": 20.0,
    "validation_loss": 1.9,
    "validation_accuracy": 25.0,
    "learning_rate": 0.04,
    "best": True,
}


@pytest.fixture(autouse=True)
def clean_slate():
    """No test sees another's figures, and no function changes matplotlib's settings."""
    plt.close("all")
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    plt.close("all")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def clip(rng):
    """A clip's attention in multiples of even attention."""
    audio, video = rng.uniform(0.1, 2, Ta), rng.uniform(0.1, 2, Tv)
    return {
        "vectors": {"video": video / video.mean(), "audio": audio / audio.mean()},
        "times": TIMES,
        "video": rng.integers(0, 256, (Tv, S, S, 3), dtype=np.uint8),
        "audio": rng.uniform(-80, 0, (BANDS, STEPS)),
    }


@pytest.fixture
def sequence(rng):
    """The same of a clip that comes as features: more steps of video, and no seconds anywhere."""
    audio, video = rng.uniform(0.1, 2, Ta), rng.uniform(0.1, 2, 43)
    return {
        "vectors": {"video": video, "audio": audio},
        "times": {"video": plots.even_times(43, PLACE), "audio": np.linspace(0.05, 0.95, Ta)},
        "video": rng.normal(size=(13, 43)),
        "audio": rng.normal(size=(17, STEPS)),
        "clock": PLACE,
    }


def centres(images):
    """The middle, in seconds, of every image of an axes."""
    return [(image.get_extent()[0] + image.get_extent()[1]) / 2 for image in images]


def pixels(image):
    """The array behind an image, as a plain array."""
    return np.asarray(image.get_array())


def is_square(image):
    """Whether an image is shown as wide as high, in pixels of the drawn figure."""
    box = image.get_window_extent()
    return box.width == pytest.approx(box.height, rel=0.01)


# ------------------------------------------------------------------------------------------------------ the inputs


def test_faces_stand_at_their_seconds_undistorted(clip):
    ax = plots.faces(clip["video"], VIDEO_TIMES)
    assert centres(ax.images) == pytest.approx(list(VIDEO_TIMES))
    assert all(np.array_equal(image.get_array(), frame) for image, frame in zip(ax.images, clip["video"], strict=True))
    assert ax.get_xlim() == pytest.approx((0, WINDOW))
    ax.figure.canvas.draw()
    assert all(is_square(image) for image in ax.images)


def test_faces_without_times_have_no_axis(clip):
    ax = plots.faces(clip["video"])
    assert len(ax.images) == Tv
    assert len(ax.get_xticks()) == 0


def test_faces_refuse_another_number_of_times(clip):
    with pytest.raises(InputError, match="7 frames and 6 times"):
        plots.faces(clip["video"], VIDEO_TIMES[:-1])


def test_steps_share_the_clip_evenly_on_either_clock():
    assert plots.even_times(Tv) == pytest.approx(VIDEO_TIMES)
    assert plots.even_times(4, PLACE) == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_faces_stand_at_their_places_where_there_are_no_seconds(clip):
    ax = plots.faces(clip["video"], plots.even_times(Tv, PLACE), clock=PLACE)
    assert (ax.get_xlim(), ax.get_xlabel()) == (pytest.approx((0, 1)), "place in the clip")


def test_features_are_standardised_channel_by_channel(rng):
    scales = np.geomspace(1e-4, 1e6, 13)[:, None]
    values = rng.normal(size=(13, 43)) * scales + 5 * scales
    values[4] = 7.1  # constant: nothing to see
    ax = plots.features(values, "video")
    shown = pixels(ax.images[0])
    others = np.arange(13) != 4
    assert shown[others] == pytest.approx(zscore(values[others], axis=1))
    assert not shown[4].any()
    assert ax.get_ylabel() == "13 channels,\nstandardised"
    assert ax.images[0].get_extent()[:2] == [0, 1]


def test_one_outlier_does_not_take_the_colours_of_a_sequence(rng):
    values = rng.normal(size=(13, 43))
    calm = plots.features(values, "audio").images[0].get_clim()
    values[2, 3] = 1e9
    assert plots.features(values, "audio").images[0].get_clim() == pytest.approx(calm, rel=0.1)


def test_a_single_step_of_features_is_standardised_over_its_channels(rng):
    values = rng.normal(size=(13, 1))
    assert pixels(plots.features(values, "audio").images[0]) == pytest.approx(zscore(values, axis=0))


def test_spectrogram_steps_are_hops_apart(clip):
    hop = 0.02
    ax = plots.spectrogram(clip["audio"], hop_seconds=hop)
    left, right, _, _ = ax.images[0].get_extent()
    assert np.array_equal(ax.images[0].get_array(), clip["audio"])
    assert (right - left) / STEPS == pytest.approx(hop)
    assert left + hop / 2 == pytest.approx(0)  # the first step is centred at 0 s


def test_spectrogram_ticks_name_the_right_band():
    """A pure tone of 1000 Hz lights the band that the tick of 1 kHz points at."""
    import librosa

    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    mel = librosa.power_to_db(librosa.feature.melspectrogram(y=tone, sr=SAMPLE_RATE, n_mels=BANDS))
    ax = plots.spectrogram(mel)
    ticks = dict(zip([label.get_text() for label in ax.get_yticklabels()], ax.get_yticks(), strict=True))
    assert abs(ticks["1k"] - mel.mean(axis=1).argmax()) <= 1


def test_mfcc_colours_do_not_depend_on_the_clip(rng):
    loud, soft = rng.normal(0, 200, (10, STEPS)), rng.normal(0, 2, (10, STEPS))
    images = [plots.mfcc(clip).images[0] for clip in (loud, soft)]
    assert np.array_equal(images[0].get_array(), loud)
    assert images[0].get_clim() == images[1].get_clim()


def test_a_sound_is_heard_and_read_on_one_time_axis(clip, rng):
    coefficients = rng.normal(0, 200, (10, STEPS))
    figure = plots.spectrogram_and_mfcc(clip["audio"], coefficients)
    figure.canvas.draw()
    above, below, *bars = figure.axes
    assert np.array_equal(above.images[0].get_array(), clip["audio"])
    assert np.array_equal(below.images[0].get_array(), coefficients)
    assert above.get_xlim() == below.get_xlim()
    assert above.images[0].get_extent()[:2] == below.images[0].get_extent()[:2]
    assert (above.bbox.x0, above.bbox.x1) == pytest.approx((below.bbox.x0, below.bbox.x1))
    assert [bar.get_ylabel() for bar in bars] == ["decibels", "MFCC"]


def test_the_box_of_a_face_lies_on_its_frame(rng):
    image = rng.integers(0, 256, (31, 47, 3), dtype=np.uint8)
    ax = plots.frame(image, np.array([5.0, 7.0, 19.0, 30.0]))
    assert np.array_equal(ax.images[0].get_array(), image)
    (box,) = ax.patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((5, 7), 14, 23)
    plots.frame(image, np.full(4, np.nan)).figure.canvas.draw()  # no face, no box


def test_dropout_variants_show_every_variant(rng):
    audio, video = rng.normal(size=(4, 10, STEPS)), rng.uniform(size=(4, Tv, 3, S, S))
    audio[2], video[3] = 0, 0
    names = ["full", "soft", "no audio", "no video"]
    figure = plots.dropout_variants(audio, video, names)
    sounds, pictures = figure.axes[::2], figure.axes[1::2]
    assert [ax.get_ylabel() for ax in sounds] == names
    size = np.abs(audio[0]).mean(axis=1, keepdims=True)
    assert all(pixels(ax.images[0]) == pytest.approx(one / size) for ax, one in zip(sounds, audio, strict=True))
    expected = np.moveaxis(video[1, 4], 0, -1)
    assert pixels(pictures[1].images[4]) / 255 == pytest.approx(expected, abs=1 / 255)
    assert all(image.get_array().max() == 0 for image in pictures[3].images)


def test_dropout_variants_of_features_share_one_scale_in_which_white_is_nothing(rng):
    audio, video = rng.normal(size=(17, STEPS)), rng.normal(size=(43, 13)) * np.geomspace(1e-3, 1e3, 13)
    variants = [np.stack([modality, 0.5 * modality, 0 * modality]) for modality in (audio, video)]
    figure = plots.dropout_variants(*variants, ["full", "soft", "none"], PLACE)
    for full, soft, none in (figure.axes[::2], figure.axes[1::2]):
        shown = pixels(full.images[0])
        assert pixels(soft.images[0]) == pytest.approx(shown / 2)
        assert not pixels(none.images[0]).any()
        assert len({ax.images[0].get_clim() for ax in (full, soft, none)}) == 1
        low, high = full.images[0].get_clim()
        assert low == -high and none.get_xlabel() == "place in the clip"
    # channels of any size are seen alike, and keep their course
    assert np.abs(shown).mean(axis=1) == pytest.approx(np.ones(13))
    assert np.corrcoef(shown[5], video[:, 5])[0, 1] == pytest.approx(1)


def test_a_softened_clip_says_what_it_was_multiplied_by_and_is_paler(rng):
    audio, video = rng.normal(size=(10, STEPS)), rng.uniform(size=(Tv, 3, S, S))
    noise = rng.normal(size=(10, STEPS))
    sounds, pictures = [audio, 0.37 * audio, 0 * audio, noise], [video, 0.63 * video, video, video]
    figure = plots.dropout_variants(np.stack(sounds), np.stack(pictures), ["full", "softened", "none", "noisy"])
    panels = figure.axes[::2]
    labels = [ax.get_ylabel() for ax in panels]
    assert labels == ["full", "softened\naudio × 0.37\nvideo × 0.63", "none", "noisy"]
    full, soft = (ax.images[0].to_rgba(ax.images[0].get_array())[..., :3] for ax in panels[:2])
    assert (1 - soft).sum() < 0.6 * (1 - full).sum()  # less ink


def test_dropout_variants_refuse_unequal_numbers(rng):
    with pytest.raises(InputError, match="3 video variants"):
        plots.dropout_variants(np.zeros((4, 10, 5)), np.zeros((3, 2, 3, 5, 5)), ["a", "b", "c", "d"])


# ------------------------------------------------------------------------------------------------------- attention


def even_line(ax):
    return any(np.all(np.array(mark.get_ydata()) == 1) for mark in ax.lines)


def test_attention_over_clip_shows_both_vectors_relative_to_even(clip):
    seen, _, heard, _ = plots.attention_over_clip(**clip).axes
    bars = seen.patches
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx(list(VIDEO_TIMES))
    assert {bar.get_y() for bar in bars} == {1}
    heights = np.array([1 + bar.get_height() for bar in bars])
    assert heights == pytest.approx(clip["vectors"]["video"])
    line = heard.lines[0]
    assert np.array_equal(line.get_xdata(), AUDIO_TIMES)
    assert line.get_ydata() == pytest.approx(clip["vectors"]["audio"])
    for ax, shown in ((seen, heights), (heard, line.get_ydata())):
        assert shown.mean() == pytest.approx(1)
        assert "1 = even" in ax.get_title(loc="left")
        assert 0 <= ax.get_ylim()[0] < shown.min() and shown.max() < ax.get_ylim()[1]
        assert even_line(ax)


def test_attention_over_clip_has_one_axis_in_seconds(clip):
    figure = plots.attention_over_clip(**clip)
    figure.canvas.draw()
    assert len(figure.axes) == 4
    assert {ax.get_xlim() for ax in figure.axes} == {(0, WINDOW)}
    assert len({(round(ax.bbox.x0, 3), round(ax.bbox.x1, 3)) for ax in figure.axes}) == 1
    faces = figure.axes[1].images
    assert centres(faces) == pytest.approx(list(VIDEO_TIMES))
    assert all(is_square(face) for face in faces)


def test_attention_over_features_has_one_axis_of_places(sequence):
    figure = plots.attention_over_clip(**sequence)
    attended_video, video, attended_audio, audio = figure.axes
    assert {ax.get_xlim() for ax in figure.axes} == {(0, 1)}
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "", "", "place in the clip"]
    for ax, values in ((video, sequence["video"]), (audio, sequence["audio"])):
        assert pixels(ax.images[0]) == pytest.approx(zscore(values, axis=1))
        assert ax.images[0].get_extent()[:2] == [0, 1]
    for ax, modality in ((attended_video, "video"), (attended_audio, "audio")):
        line, vector = ax.lines[0], sequence["vectors"][modality]
        assert np.array_equal(line.get_xdata(), sequence["times"][modality])
        assert line.get_ydata() == pytest.approx(vector)


@pytest.mark.parametrize("kind", ["clip", "sequence"])
@pytest.mark.parametrize("modality", ["audio", "video"])
def test_a_fusion_in_one_direction_has_one_vector_and_both_pictures(kind, modality, request):
    shown = request.getfixturevalue(kind)
    shown["vectors"] = {modality: shown["vectors"][modality]}
    shown["times"] = {modality: shown["times"][modality]}
    figure = plots.attention_over_clip(**shown, cues={"face": (0.2, 0.4), "voice": (0.5, 0.9)})
    assert [even_line(ax) for ax in figure.axes] == [modality == "video", modality == "audio", False]
    assert len(figure.axes[0 if modality == "audio" else 1].images) == (Tv if kind == "clip" else 1)
    assert len(figure.axes[2].images) == 1
    assert sum(bool(ax.texts) for ax in figure.axes) == 1  # only the cue that the vector should find


def test_a_single_frame_stays_square_and_small(clip):
    clip["vectors"], clip["times"], clip["video"] = {"video": np.ones(1)}, {"video": [1.8]}, clip["video"][:1]
    figure = plots.attention_over_clip(**clip)
    figure.canvas.draw()
    (face,) = figure.axes[1].images
    assert is_square(face) and centres([face]) == pytest.approx([WINDOW / 2])
    assert face.get_window_extent().height / figure.dpi <= 1.6 + 1e-6
    (bar,) = figure.axes[0].patches
    assert (bar.get_y() + bar.get_height(), bar.get_width()) == (1, pytest.approx(0.96 * WINDOW))


def test_cues_are_shaded_at_their_seconds(clip):
    figure = plots.attention_over_clip(**clip, cues={"face": (0.5, 1.25), "voice": (2.0, 3.5)})
    for ax, (start, end) in ((figure.axes[0], (0.5, 1.25)), (figure.axes[2], (2.0, 3.5))):
        (label,) = [text for text in ax.texts if text.get_text() == "cue (truth)"]
        assert label.get_position()[0] == pytest.approx((start + end) / 2)
        shade = ax.patches[-1]
        assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx((start, end))


@pytest.mark.parametrize("cues", [None, {}, {"face": (np.nan, np.nan)}])
def test_a_cue_that_is_not_there_is_not_drawn(clip, cues):
    assert not any(ax.texts for ax in plots.attention_over_clip(**clip, cues=cues).axes)


def test_a_vector_of_another_length_is_refused(clip):
    with pytest.raises(InputError, match=r"audio attention vector has shape \(151,\)"):
        plots.attention_over_clip(**(clip | {"times": TIMES | {"audio": AUDIO_TIMES[:-1]}}))


def test_attention_map_puts_queries_and_keys_at_their_seconds(rng):
    weights = rng.dirichlet(np.ones(Tv), Ta)  # (Ta, Tv), rows sum to 1
    ax = plots.attention_map(weights, AUDIO_TIMES, VIDEO_TIMES, "audio", "video")
    left, right, bottom, top = ax.images[0].get_extent()
    assert pixels(ax.images[0]) == pytest.approx(weights * Tv)  # 1 = even
    assert (left, right) == pytest.approx((0, WINDOW))
    assert (bottom + top) / 2 == pytest.approx(AUDIO_TIMES.mean())
    assert ax.images[0].origin == "lower"
    with pytest.raises(InputError, match="must agree"):
        plots.attention_map(weights.T, AUDIO_TIMES, VIDEO_TIMES, "audio", "video")


def test_the_heads_of_a_direction_share_a_scale_and_its_bar(rng):
    heads = 3
    weights = {
        "video_to_audio": rng.dirichlet(np.ones(Tv), (heads, Ta)),  # audio looks at video
        "audio_to_video": rng.dirichlet(np.ones(Ta), (heads, Tv)),
    }
    figure = plots.attention_maps(weights, TIMES)
    maps, bars = figure.axes[: 2 * heads], figure.axes[2 * heads :]
    assert len(bars) == 2
    for row, bar, name in ((maps[:heads], bars[0], "video_to_audio"), (maps[heads:], bars[1], "audio_to_video")):
        shown = weights[name] * weights[name].shape[-1]
        for ax in row:
            assert ax.images[0].get_clim() == pytest.approx((2 - shown.max(), shown.max()))
        assert bar.get_ylim() == pytest.approx((0, shown.max()))
        assert all(pixels(ax.images[0]) == pytest.approx(head) for ax, head in zip(row, shown, strict=True))
    assert maps[0].get_ylabel() == "query: audio (s)"
    assert maps[heads].get_xlabel() == "key: audio (s)"


def test_maps_of_self_attention_stand_below_those_between_the_modalities(rng):
    """MULT: 5 heads, both directions and two memory transformers, over places."""
    lengths, heads = {"audio": 19, "video": 23}, 5
    directions = ["video_to_audio", "audio_to_video", "audio_to_audio", "video_to_video"]
    pairs = [direction.split("_to_") for direction in directions]
    weights = {
        f"{key}_to_{query}": rng.dirichlet(np.ones(lengths[key]), (heads, lengths[query])) for key, query in pairs
    }
    times = {name: plots.even_times(steps, PLACE) for name, steps in lengths.items()}
    figure = plots.attention_maps(weights, times, clock=PLACE)
    rows = np.reshape(figure.axes[: 4 * heads], (4, heads))
    for row, (key, query) in zip(rows, pairs, strict=True):
        assert row[0].get_ylabel() == f"query: {query} (place)"
        assert {ax.get_xlabel() for ax in row} == {f"key: {key} (place)"}
        assert {ax.get_xlim() for ax in row} == {ax.get_ylim() for ax in row} == {(0, 1)}
        for ax, map_of_head in zip(row, weights[f"{key}_to_{query}"], strict=True):
            assert pixels(ax.images[0]) == pytest.approx(map_of_head * lengths[key])


def test_even_attention_is_not_drawn_as_a_peak():
    even = {"video_to_audio": np.full((1, Ta, Tv), 1 / Tv)}
    alone = plots.attention_map(even["video_to_audio"][0], AUDIO_TIMES, VIDEO_TIMES, "audio", "video")
    for ax in (plots.attention_maps(even, TIMES).axes[0], alone):
        assert ax.images[0].get_clim() == (0, 2)
        assert ax.images[0].to_rgba([1.0])[0] == pytest.approx((1, 1, 1, 1), abs=0.02)  # white


def test_a_nearly_even_vector_keeps_near_the_line_of_even(clip):
    clip["vectors"]["video"] = 1 + 0.01 * (np.arange(Tv) % 2)
    low, high = plots.attention_over_clip(**clip).axes[0].get_ylim()
    assert low < 0.8 and high > 1.2


def by_emotion(means):
    return {name: pd.DataFrame(mean, EMOTIONS) for name, mean in means.items()}


def test_attention_by_emotion_centres_each_scale_at_even(rng):
    means = {"audio": rng.uniform(0.5, 3, (3, Ta)), "video": rng.uniform(0.9, 1.1, (3, Tv))}
    figure = plots.attention_by_emotion(by_emotion(means), TIMES)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == EMOTIONS
    for ax, modality in zip(figure.axes[:2], ("video", "audio"), strict=True):
        shown = pixels(ax.images[0])
        assert ax.get_title() == modality
        assert shown == pytest.approx(means[modality])
        low, high = ax.images[0].get_clim()
        assert (low + high) / 2 == pytest.approx(1)
        assert low <= shown.min() and shown.max() <= high
    assert figure.axes[2].get_xlim()[0] >= 0


def test_rounding_in_even_attention_is_not_taken_for_a_pattern(rng):
    means = {"audio": 1 + 1e-7 * rng.normal(size=(3, Ta))}
    panel, _bar = plots.attention_by_emotion(by_emotion(means), TIMES).axes
    assert panel.images[0].get_clim() == pytest.approx((0.99, 1.01))


def test_attention_by_emotion_of_one_modality_over_places(rng):
    means = {"audio": rng.uniform(0.5, 3, (3, Ta))}
    panel, _bar = plots.attention_by_emotion(by_emotion(means), {"audio": plots.even_times(Ta, PLACE)}, PLACE).axes
    assert (panel.get_title(), panel.get_xlabel(), panel.get_xlim()) == ("audio", "place in the clip", (0, 1))


def test_no_figure_fails_on_sequences_of_a_single_step(rng):
    """The arrays of a corpus of embeddings: one vector of each modality, for a whole clip."""
    times = dict.fromkeys(("audio", "video"), plots.even_times(1, PLACE))
    ones = {"audio": np.ones(1), "video": np.ones(1)}
    audio, video = rng.normal(size=(17, 1)), rng.normal(size=(13, 1))
    maps = {"video_to_audio": np.ones((2, 1, 1)), "audio_to_video": np.ones((2, 1, 1))}
    figures = [
        plots.attention_over_clip(ones, times, video, audio, clock=PLACE),
        plots.attention_maps(maps, times, clock=PLACE),
        plots.attention_by_emotion(by_emotion({name: np.ones((3, 1)) for name in ones}), times, PLACE),
        plots.dropout_variants(audio[None], video.T[None], ["full"], PLACE),
    ]
    for figure in figures:
        figure.canvas.draw()
        for image in (image for ax in figure.axes for image in ax.images):
            assert np.ptp(image.get_extent()[:2]) > 0
            assert np.ptp(image.get_clim()) > 1e-3
            assert np.isfinite(image.get_array()).all()


# ----------------------------------------------------------------------------------------------------- attribution


def test_scores_go_up_and_down_from_nothing_at_the_seconds_of_the_inputs(rng):
    few, many = rng.normal(size=Tv), rng.normal(size=STEPS)
    bars = plots.scores(few, "video", "ablation").patches
    assert [bar.get_height() for bar in bars] == pytest.approx(list(few))
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx(list(VIDEO_TIMES))
    ax = plots.scores(many, "audio", "ablation")
    assert np.array_equal(ax.lines[0].get_ydata(), many)
    assert ax.lines[0].get_xdata()[[0, 100]] == pytest.approx([0, 100 * HOP / SAMPLE_RATE])
    assert ax.get_title(loc="left").startswith("audio: ablation")
    ax = plots.scores(many, "audio", "ablation", clock=PLACE)
    assert ax.lines[0].get_xdata() == pytest.approx(plots.even_times(STEPS, PLACE))


def test_attribution_lies_under_the_attention_on_its_clock(clip, rng):
    found = {"occlusion": {"video": rng.normal(size=Tv), "audio": rng.normal(size=STEPS)}, "ablation": {"audio": None}}
    found["integrated gradients"] = {"video": rng.normal(size=Tv), "audio": rng.normal(size=STEPS)}
    figure = plots.attention_over_clip(**clip, attribution=found, cues={"face": (1.0, 2.0)})
    titles = [ax.get_title(loc="left").split(",")[0] for ax in figure.axes]
    assert [title.split(":")[0] for title in titles] == ["video"] * 3 + [""] + ["audio"] * 3 + [""]
    assert titles[1:3] == ["video: occlusion", "video: integrated gradients"]
    assert {ax.get_xlim() for ax in figure.axes} == {(0, WINDOW)}
    tops = [ax.get_position().y1 for ax in figure.axes]
    assert tops == sorted(tops, reverse=True)
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["cue (truth)"]


def test_attribution_is_drawn_without_attention_too(clip, rng):
    clip |= {"vectors": {}, "times": {}}
    figure = plots.attention_over_clip(**clip, attribution={"ablation": {"audio": rng.normal(size=STEPS)}})
    titles = [ax.get_title(loc="left").split(",")[0] for ax in figure.axes]
    assert titles == ["video", "audio: ablation", ""]


def test_grad_cam_lights_the_places_that_speak(clip):
    heat = np.zeros((Tv, S, S))
    heat[2, 3:5, 6:8] = 1
    ax = plots.grad_cam(clip["video"], heat)
    lit = pixels(ax.images[2])
    assert np.array_equal(lit[3:5, 6:8], clip["video"][2, 3:5, 6:8])
    assert lit[:3] == pytest.approx(clip["video"][2, :3] / 4, abs=0.51)
    assert centres(ax.images) == pytest.approx(list(VIDEO_TIMES))
    with pytest.raises(InputError, match="must agree"):
        plots.grad_cam(clip["video"], heat[:, 1:])


def test_the_shares_of_the_modalities_are_means_over_the_clips_of_an_emotion():
    rows = [("sad", 1.0, 2.0, 0.5), ("sad", 3.0, -2.0, 0.5), ("calm", 0.5, 0.25, -1.0)]
    ax = plots.branches(pd.DataFrame(rows, columns=["emotion", "audio", "video", "together"]))
    audio, video = ([bar.get_width() for bar in bars] for bars in ax.containers)
    assert (audio, video) == ([2.0, 0.5], [0.0, 0.25])
    assert ax.lines[0].get_xdata().tolist() == [0.5, -1.0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["sad", "calm"]


# --------------------------------------------------------------------------------------------------------- results


def test_confusions_show_percent_of_each_row_a_panel_for_each_condition():
    counts = [[3, 1, 0], [0, 5, 0], [0, 0, 0]]  # no clip was happy
    figure = plots.confusions({"AV": counts, "A": np.eye(3), "V": np.ones((3, 3))}, EMOTIONS)
    both, audio, video = figure.axes
    assert [text.get_text() for text in both.texts] == ["75", "25", "0", "0", "100", "0"]
    assert {text.get_text() for text in video.texts} == {"33"}
    assert [ax.get_title() for ax in figure.axes] == ["AV  both", "A  audio alone", "V  video alone"]
    assert [label.get_text() for label in both.get_yticklabels()] == EMOTIONS
    assert [label.get_text() for label in audio.get_xticklabels()] == EMOTIONS
    assert both.get_ylim()[0] > both.get_ylim()[1]  # the first emotion is on top
    width, height = figure.get_size_inches()
    assert width > 2 * height  # side by side
    with pytest.raises(InputError, match="3 names of emotion"):
        plots.confusions({"AV": np.ones((2, 3))}, EMOTIONS)


def test_classes_of_something_else_are_called_what_they_are():
    classes = [f"{value:+d}" for value in range(-3, 4)]
    figure = plots.confusions({"AV": np.eye(7)}, classes, label="sentiment")
    assert figure.axes[0].get_ylabel() == "true sentiment (rows in percent)"
    table = pd.DataFrame({"emotion": classes, "condition": "AV", "accuracy": 50.0})
    ax = plots.per_emotion(table, label="sentiment")
    assert ax.get_xlabel() == "true sentiment"
    assert [label.get_text() for label in ax.get_xticklabels()] == classes


def test_per_emotion_bars_are_the_accuracies():
    table = pd.DataFrame(
        [
            (emotion, condition, 10.0 * i + 3 * j)
            for i, emotion in enumerate(EMOTIONS)
            for j, condition in enumerate("VA")
        ],
        columns=["emotion", "condition", "accuracy"],
    )
    ax = plots.per_emotion(table)
    heights = [[bar.get_height() for bar in bars] for bars in ax.containers]
    assert heights == [[3, 13, 23], [0, 10, 20]]  # A before V, whatever the table's order
    assert ax.containers[0][0].get_facecolor() == pytest.approx(matplotlib.colors.to_rgba(plots.AUDIO))


@pytest.fixture
def dropouts():
    accuracies = {"none": (94.0, 26.6, 39.1, 53.2), "softhard": (93.8, 62.5, 60.2, 72.2)}
    rows = [
        (kind, name, a) for kind, row in accuracies.items() for name, a in zip(("AV", "A", "V", "M"), row, strict=True)
    ]
    return pd.DataFrame(rows, columns=["dropout", "condition", "accuracy"])


def test_conditions_groups_bars_and_writes_their_values(dropouts):
    ax = plots.conditions(dropouts)
    assert [[bar.get_height() for bar in bars] for bars in ax.containers] == [
        [94.0, 26.6, 39.1, 53.2],
        [93.8, 62.5, 60.2, 72.2],
    ]
    middle = (ax.containers[0][1].get_x() + ax.containers[1][1].get_x() + ax.containers[1][1].get_width()) / 2
    assert middle == pytest.approx(1, abs=0.02)  # the two bars of A stand around its tick
    assert {"26.6", "72.2"} <= {text.get_text() for text in ax.texts}
    assert not ax.lines


def test_conditions_draws_its_yardsticks_at_their_heights(dropouts):
    ax = plots.conditions(dropouts, reachable={"AV": 100.0, "A": 62.5, "V": 62.5}, chance=12.5)
    dashes, chance = ax.lines[:3], ax.lines[3]
    assert [(np.mean(dash.get_xdata()), dash.get_ydata()[0]) for dash in dashes] == [(0, 100), (1, 62.5), (2, 62.5)]
    assert set(chance.get_ydata()) == {12.5}
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["dropout: none", "dropout: softhard", "best reachable", "chance 12.5 %"]


def test_the_best_without_attention_is_drawn_at_the_bars_of_both_modalities(dropouts):
    ax = plots.conditions(dropouts, reachable={"AV": 100.0, "without attention": 33.3})
    assert [(np.mean(line.get_xdata()), line.get_ydata()[0]) for line in ax.lines] == [(0, 100), (0, 33.3)]
    assert [text.get_text() for text in ax.get_legend().get_texts()][-2:] == [
        "best reachable",
        "expected without attention",
    ]


def test_conditions_with_noise_have_their_bars_too(dropouts):
    noisy = pd.DataFrame({"dropout": "none", "condition": ["V noise", "A noise"], "accuracy": [11.0, 22.0]})
    ax = plots.conditions(pd.concat([noisy, dropouts[dropouts.dropout == "none"]]))
    assert [bar.get_height() for bar in ax.containers[0]] == [94.0, 26.6, 39.1, 53.2, 22.0, 11.0]
    assert [label.get_text() for label in ax.get_xticklabels()][4:] == [
        "A noise\nnoise for video",
        "V noise\nnoise for audio",
    ]


@pytest.fixture
def opinions(rng):
    """Predicted sentiments of 97 clips under four conditions, off by 0.5, 1 and 2 in the three that are shown."""
    label = rng.uniform(-3, 3, 97)
    errors = {"V": 2.0, "AV": 0.5, "A noise": 9.0, "A": 1.0}
    tables = [pd.DataFrame({"label": label, "value": label + error, "condition": c}) for c, error in errors.items()]
    return pd.concat(tables, ignore_index=True)


def test_sentiment_has_a_panel_for_each_condition_with_its_error(opinions):
    figure = plots.sentiment(opinions)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["AV  both: MAE 0.50", "A  audio alone: MAE 1.00", "V  video alone: MAE 2.00"]
    assert len({ax.collections[0].get_clim() for ax in figure.axes}) == 1
    for ax in figure.axes:
        assert ax.collections[0].get_array().sum() == 97  # every clip is in one of the cells
        assert np.array_equal(ax.lines[0].get_xdata(), ax.lines[0].get_ydata())
        assert ax.get_xlim() == ax.get_ylim()


def test_sentiment_cells_stand_at_truth_and_prediction():
    table = pd.DataFrame({"label": [-2.0] * 5, "value": [1.5] * 5, "condition": "AV"})
    (ax,) = plots.sentiment(table).axes
    (cell,) = ax.collections[0].get_offsets()
    assert cell == pytest.approx([-2, 1.5], abs=0.2)


def test_sentiment_without_a_condition_to_show_is_refused(opinions):
    with pytest.raises(InputError, match="AV, A or V"):
        plots.sentiment(opinions[opinions["condition"] == "A noise"])


# -------------------------------------------------------------------------------------------------------- training


def test_a_table_of_scores_has_a_row_for_every_kind_and_the_mean_of_its_folds():
    rows = [(f"IA{kind} none", name, 10 * kind + fold) for kind in range(7) for name in ("V", "AV") for fold in (1, 4)]
    ax = plots.score_table(pd.DataFrame(rows, columns=["dropout", "condition", "accuracy"]))
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"IA{kind} none" for kind in range(7)]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["AV", "V"]
    assert [text.get_text() for text in ax.texts][:4] == ["2.5", "2.5", "12.5", "12.5"]


def test_history_marks_the_best_epoch_and_the_learning_rates():
    rows = ((1, 30, True), (2, 71.5, True), (3, 50, False))
    table = pd.DataFrame([ROW | {"epoch": e, "validation_accuracy": a, "best": best} for e, a, best in rows])
    table.loc[2, "learning_rate"] = 0.004
    loss, accuracy = plots.history(table).axes
    assert accuracy.get_title(loc="left") == "best epoch 2: 71.5 %, loss 1.900"
    validation, ring = accuracy.lines[1:3]
    assert list(validation.get_ydata()) == [30, 71.5, 50]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, 71.5)
    assert [text.get_text().strip() for text in loss.texts] == ["0.004"]
    assert loss.texts[0].get_position()[0] == 3


def test_history_of_a_regression_has_its_own_measures():
    labels = ("mean absolute error", "sign right (%)")
    loss, accuracy = plots.history(pd.DataFrame([ROW]), labels).axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == labels


@pytest.fixture
def screen(monkeypatch):
    """What a notebook would show: the calls of display and update_display."""
    calls = []
    monkeypatch.setattr(training, "get_ipython", object)
    monkeypatch.setattr(training, "display", lambda picture, display_id: calls.append(("new", display_id, picture)))
    monkeypatch.setattr(
        training, "update_display", lambda picture, display_id: calls.append(("again", display_id, picture))
    )
    return calls


def test_live_history_adds_up_and_redraws_one_picture(screen):
    curve = plots.LiveHistory()
    for epoch in (1, 2, 3):
        curve.add(ROW | {"epoch": epoch})
    assert list(curve.table["epoch"]) == [1, 2, 3]
    assert [kind for kind, _, _ in screen] == ["new", "again", "again"]
    assert len({name for _, name, _ in screen}) == 1
    assert all(picture.data.startswith(b"\x89PNG") for _, _, picture in screen)
    assert plt.get_fignums() == []


def test_live_history_draws_as_history_is_told_to(screen):
    labels = ("mean absolute error", "sign right (%)")
    told, plain = plots.LiveHistory(labels), plots.LiveHistory()
    for curve in (told, plain):
        curve.add(ROW)
    expected = BytesIO()
    plots.history(told.table, labels).savefig(expected, format="png", dpi=144)
    assert screen[0][2].data == expected.getvalue() != screen[1][2].data


def test_live_history_is_silent_outside_a_notebook(capsys):
    curve = plots.LiveHistory()
    curve.add(ROW)
    assert len(curve.table) == 1
    assert capsys.readouterr().out == ""


def test_a_headless_notebook_shows_every_figure_once_and_the_last_curve(tmp_path):
    cells = [
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom workbook import plots\ncurve = plots.LiveHistory()",
        f"for epoch in (1, 2, 3):\n    curve.add({ROW!r} | {{'epoch': epoch}})",
        "plots.history(curve.table)",
        "import numpy as np\nplots.features(np.eye(3), 'audio');",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    for cell in notebook.cells[1:]:
        assert [("image/png" in output.get("data", {})) for output in cell.outputs] == [True]


def test_the_figures_need_neither_pyav_nor_librosa():
    code = "import sys, workbook.plots, workbook.attention.truth; print({'av', 'librosa'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ---------------------------------------------------------------------------------------------------------- saving


def test_figures_of_several_panels_do_not_stay_open(clip):
    plots.attention_over_clip(**clip)
    plots.history(pd.DataFrame([ROW]))
    assert plt.get_fignums() == []


def test_save_takes_figures_and_axes_and_makes_the_folder(tmp_path, rng):
    ax = plots.features(rng.normal(size=(13, 43)), "audio")
    for drawn, name in ((ax, "axes.png"), (ax.figure, "figure.svg")):
        path = plots.save(drawn, tmp_path / "figures" / name)
        assert path == tmp_path / "figures" / name
        assert path.stat().st_size > 1000
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["axes.png", "figure.svg"]


def test_a_saving_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def fill_the_disk(path, **options):
        path.write_bytes(b"half a fig")
        raise OSError("No space left on device")

    path = tmp_path / "figure.png"
    path.write_bytes(b"the old figure")
    figure = plt.figure()
    monkeypatch.setattr(figure, "savefig", fill_the_disk)
    with pytest.raises(InputError, match="cannot be written"):
        plots.save(figure, path)
    assert path.read_bytes() == b"the old figure"
    assert list(tmp_path.iterdir()) == [path]


def test_single_frames_stand_in_rows_below_their_names(rng):
    images = rng.integers(0, 256, (7, S, S, 3), dtype=np.uint8)
    figure = plots.named_frames(images, list("abcdefg"), columns=3)
    shown = [ax for ax in figure.axes if ax.images]
    assert len(figure.axes) == 9 and [ax.get_title() for ax in shown] == list("abcdefg")
    assert all((ax.images[0].get_array() == image).all() for ax, image in zip(shown, images, strict=True))


def test_a_confusion_of_many_names_is_larger_and_may_have_a_title_of_its_own(rng):
    few, many = (plots.confusions({"validation": np.eye(k)}, [f"n{n}" for n in range(k)]) for k in (5, 20))
    assert few.axes[0].get_title().strip() == "validation"
    assert many.get_figheight() == 2 * few.get_figheight()


# ------------------------------------------------------------------------------------------------------ faithfulness


@pytest.fixture
def deletion():
    """Curves of two actors, one with two clips, and their areas."""
    from workbook.attention.faithfulness import area_summary, areas

    rows = [
        {"clip": clip, "actor": actor, "modality": "video", "order": order, "curve": curve, "share": share}
        for clip, actor in (("a", 1), ("b", 1), ("c", 2))
        for order in ("random", "attention")
        for curve in ("delete", "insert")
        for share in (0, 0.5, 1)
    ]
    table = pd.DataFrame(rows)
    falls = np.where(table["curve"] == "delete", 1 - table["share"], table["share"])
    table["score"] = (
        falls + 0.1 * (table["actor"] == 2) - 0.2 * ((table["order"] == "attention") & (table["share"] == 0.5))
    )
    return table, area_summary(areas(table))


def test_curves_of_deletion_are_means_over_actors(deletion):
    figure = plots.deletion_curves(*deletion)
    delete, insert, between = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in delete.lines}
    assert lines["random"] == pytest.approx([1.05, 0.55, 0.05])
    assert lines["attention"] == pytest.approx([1.05, 0.35, 0.05])
    assert delete.lines[0].get_xdata().tolist() == [0, 50, 100]
    assert insert.lines[0].get_ydata() == pytest.approx([0.05, 0.55, 1.05])
    assert insert.get_ylim() == delete.get_ylim() and insert.get_ylim()[0] < 0.05 and insert.get_ylim()[1] > 1.05
    dots = between.collections[-1].get_offsets()
    assert dots[:, 0].tolist() == pytest.approx(deletion[1]["between"].tolist())
    assert [label.get_text() for label in between.get_yticklabels()] == ["random", "attention"]


def test_intervals_stand_in_their_rows():
    table = pd.DataFrame({"modality": ["audio", "video"], "pair": ["x", "y"], "mean": [0.1, -0.3]})
    ax = plots.intervals(table.assign(low=-0.4, high=0.2), ["modality", "pair"], "rho", (-1, 1)).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["audio: x", "video: y"]
    assert np.array(ax.collections[-1].get_offsets()) == pytest.approx(np.array([[0.1, 0], [-0.3, 1]]))


def test_shuffled_layers_have_a_panel_per_modality_and_a_line_per_method():
    table = pd.DataFrame(
        [
            {
                "layer": layer,
                "method": method,
                "modality": modality,
                "mean": mean,
                "low": mean - 0.1,
                "high": mean + 0.1,
            }
            for layer, mean in (("none", 1.0), ("classifier", 0.2))
            for method in ("attention", "integrated gradients")
            for modality in ("audio", "video")
        ]
    )
    figure = plots.shuffled_layers(table)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["audio", "video"]
    assert all(line.get_ydata().tolist() == [1.0, 0.2] for line in figure.axes[0].lines[1:])
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["none", "classifier"]


def test_runs_stand_below_one_another_with_their_areas(deletion):
    areas = pd.concat([deletion[1].assign(run=name) for name in ("ia", "lt")])
    (ax,) = plots.areas_of_runs(areas).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ia", "lt"]
    points = next(line for line in ax.lines if line.get_label() == "attention")
    expected = deletion[1].set_index("order")["between"]["attention"]
    assert points.get_xdata().tolist() == pytest.approx([expected] * 2) and points.get_ydata().tolist() == [0, 1]


def test_a_modality_that_nothing_attends_to_has_no_point_for_attention(deletion):
    rows = deletion[1].assign(run="tva")
    unattended = rows[rows["order"] != "attention"].assign(modality="audio")
    video, audio = plots.areas_of_runs(pd.concat([rows.assign(modality="video"), unattended])).axes
    points = [next(line for line in ax.lines if line.get_label() == "attention") for ax in (video, audio)]
    assert [len(line.get_xdata()) for line in points] == [len(rows[rows["order"] == "attention"]), 0]


def test_hidden_keys_of_a_map_are_blank_and_the_others_compared_with_what_is_seen():
    weights = np.array([[1.0, 0, 0], [0.25, 0.75, 0], [0.5, 0.25, 0.25]])
    ax = plots.attention_map(weights, np.arange(3), np.arange(3), "audio", "video")
    shown = np.ma.masked_invalid(ax.images[0].get_array())
    assert shown.mask.tolist() == [[False, True, True], [False, False, True], [False] * 3]
    assert shown.compressed() == pytest.approx([1, 0.5, 1.5, 1.5, 0.75, 0.75])
