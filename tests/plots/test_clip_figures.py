"""Figures of one clip hold its numbers, at the seconds they belong to: inputs, attention and attribution."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import zscore

from workbook import plots
from workbook.data.window import HOP, SAMPLE_RATE, WINDOW

Ta, Tv, S, BANDS, STEPS = 151, 7, 11, 61, 157
AUDIO_TIMES = (np.arange(Ta) + 3) * HOP / SAMPLE_RATE
VIDEO_TIMES = (np.arange(Tv) + 0.5) * WINDOW / Tv
TIMES = {"audio": AUDIO_TIMES, "video": VIDEO_TIMES}
PLACE = plots.PLACE
EMOTIONS = ["neutral", "calm", "happy"]


@pytest.fixture
def clip(rng):
    """A clip's attention in multiples of even attention, its faces and its spectrogram."""
    vectors = {"video": rng.uniform(0.1, 2, Tv), "audio": rng.uniform(0.1, 2, Ta)}
    faces, sound = rng.integers(0, 256, (Tv, S, S, 3), dtype=np.uint8), rng.uniform(-80, 0, (BANDS, STEPS))
    return {"vectors": vectors, "times": TIMES, "video": faces, "audio": sound}


@pytest.fixture
def sequence(rng):
    """The same of a clip that comes as features: more steps of video, and no seconds anywhere."""
    vectors = {"video": rng.uniform(0.1, 2, 43), "audio": rng.uniform(0.1, 2, Ta)}
    times = {"video": plots.even_times(43, PLACE), "audio": np.linspace(0.05, 0.95, Ta)}
    arrays = {"video": rng.normal(size=(13, 43)), "audio": rng.normal(size=(17, STEPS))}
    return {"vectors": vectors, "times": times, "clock": PLACE} | arrays


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


def test_faces_stand_undistorted_at_their_seconds_or_places(clip):
    ax = plots.faces(clip["video"], VIDEO_TIMES)
    assert centres(ax.images) == pytest.approx(list(VIDEO_TIMES))
    assert all(np.array_equal(image.get_array(), face) for image, face in zip(ax.images, clip["video"], strict=True))
    assert ax.get_xlim() == pytest.approx((0, WINDOW))
    ax = plots.faces(clip["video"], plots.even_times(Tv, PLACE), clock=PLACE)
    assert (ax.get_xlim(), ax.get_xlabel()) == (pytest.approx((0, 1)), "place in the clip")


def test_features_are_standardised_channel_by_channel_whatever_their_outliers(rng):
    scales = np.geomspace(1e-4, 1e6, 13)[:, None]
    values = rng.normal(size=(13, 43)) * scales + 5 * scales
    values[4] = 7.1  # constant
    ax = plots.features(values, "video")
    scaled = pixels(ax.images[0])
    others = np.arange(13) != 4
    assert scaled[others] == pytest.approx(zscore(values[others], axis=1)) and not scaled[4].any()
    assert ax.get_ylabel() == "13 channels,\nstandardised" and ax.images[0].get_extent()[:2] == [0, 1]
    values = rng.normal(size=(13, 43))
    scale = plots.features(values, "audio").images[0].get_clim()
    values[2, 3] = 1e9
    assert plots.features(values, "audio").images[0].get_clim() == pytest.approx(scale, rel=0.1)
    single = rng.normal(size=(13, 1))
    assert pixels(plots.features(single, "audio").images[0]) == pytest.approx(zscore(single, axis=0))


def test_spectrogram_steps_are_hops_apart_and_its_ticks_name_the_right_band(clip):
    import librosa

    ax, hop = plots.spectrogram(clip["audio"]), HOP / SAMPLE_RATE
    left, right, _, _ = ax.images[0].get_extent()
    assert np.array_equal(ax.images[0].get_array(), clip["audio"])
    assert (left, right) == pytest.approx((-hop / 2, (STEPS - 0.5) * hop))  # the first step is centred at 0 s
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    mel = librosa.power_to_db(librosa.feature.melspectrogram(y=tone, sr=SAMPLE_RATE, n_mels=BANDS))
    ticks = dict(zip([label.get_text() for label in ax.get_yticklabels()], ax.get_yticks(), strict=True))
    assert abs(ticks["1k"] - mel.mean(axis=1).argmax()) <= 1


def test_the_box_of_a_face_lies_on_its_frame(rng):
    image = rng.integers(0, 256, (31, 47, 3), dtype=np.uint8)
    ax = plots.frame(image, np.array([5.0, 7.0, 19.0, 30.0]))
    assert np.array_equal(ax.images[0].get_array(), image)
    (box,) = ax.patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((5, 7), 14, 23)
    plots.frame(image, np.full(4, np.nan)).figure.draw_without_rendering()  # no face, no box


def test_dropout_variants_show_every_variant_and_the_factors_of_softened_ones(rng):
    audio, video = rng.normal(size=(10, STEPS)), rng.uniform(size=(Tv, 3, S, S))
    sounds = np.stack([audio, 0.37 * audio, 0 * audio, rng.normal(size=(10, STEPS))])
    pictures = np.stack([video, 0.63 * video, video, 0 * video])
    figure = plots.dropout_variants(sounds, pictures, ["full", "softened", "none", "noisy"])
    panels, faces = figure.axes[::2], figure.axes[1::2]
    labels = [ax.get_ylabel() for ax in panels]
    assert labels == ["full", "softened\naudio × 0.37\nvideo × 0.63", "none", "noisy"]
    size = np.abs(audio).mean(axis=1, keepdims=True)
    assert all(pixels(ax.images[0]) == pytest.approx(sound / size) for ax, sound in zip(panels, sounds, strict=True))
    assert pixels(faces[1].images[4]) == pytest.approx(np.moveaxis(pictures[1, 4], 0, -1))
    assert all(image.get_array().max() == 0 for image in faces[3].images)


def test_dropout_variants_of_features_share_one_scale_in_which_white_is_nothing(rng):
    audio, video = rng.normal(size=(17, STEPS)), rng.normal(size=(43, 13)) * np.geomspace(1e-3, 1e3, 13)
    variants = [np.stack([modality, 0.5 * modality, 0 * modality]) for modality in (audio, video)]
    figure = plots.dropout_variants(*variants, ["full", "soft", "none"], PLACE)
    for full, soft, none in (figure.axes[::2], figure.axes[1::2]):
        scaled = pixels(full.images[0])
        assert pixels(soft.images[0]) == pytest.approx(scaled / 2) and not pixels(none.images[0]).any()
        ((low, high),) = {ax.images[0].get_clim() for ax in (full, soft, none)}
        assert low == -high
    assert np.abs(scaled).mean(axis=1) == pytest.approx(np.ones(13))  # channels of any size look alike
    assert np.corrcoef(scaled[5], video[:, 5])[0, 1] == pytest.approx(1)


def has_even_line(ax):
    return any(np.all(np.array(mark.get_ydata()) == 1) for mark in ax.lines)


def test_attention_over_clip_shows_both_vectors_relative_to_even_on_one_axis_in_seconds(clip):
    figure = plots.attention_over_clip(**clip)
    figure.draw_without_rendering()
    video, faces, audio, _ = figure.axes
    bars, line = video.patches, audio.lines[0]
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx(list(VIDEO_TIMES))
    assert {bar.get_y() for bar in bars} == {1} and np.array_equal(line.get_xdata(), AUDIO_TIMES)
    drawn = {"video": np.array([1 + bar.get_height() for bar in bars]), "audio": line.get_ydata()}
    for ax, (name, vector) in zip((video, audio), drawn.items(), strict=True):
        assert vector == pytest.approx(clip["vectors"][name])
        assert "1 = even" in ax.get_title(loc="left") and has_even_line(ax)
        assert 0 <= ax.get_ylim()[0] < vector.min() and vector.max() < ax.get_ylim()[1]
    assert {ax.get_xlim() for ax in figure.axes} == {(0, WINDOW)}
    assert len({(round(ax.bbox.x0, 3), round(ax.bbox.x1, 3)) for ax in figure.axes}) == 1
    assert centres(faces.images) == pytest.approx(list(VIDEO_TIMES)) and all(map(is_square, faces.images))


@pytest.mark.parametrize("kind, modality", [("clip", "audio"), ("sequence", "video")])
def test_a_fusion_in_one_direction_has_one_vector_and_both_pictures(kind, modality, request):
    clip = request.getfixturevalue(kind)
    clip["vectors"] = {modality: clip["vectors"][modality]}
    figure = plots.attention_over_clip(**clip, cues={"face": (0.2, 0.4), "voice": (0.5, 0.9)})
    assert [has_even_line(ax) for ax in figure.axes] == [modality == "video", modality == "audio", False]
    assert len(figure.axes[0 if modality == "audio" else 1].images) == (Tv if kind == "clip" else 1)
    assert len(figure.axes[2].images) == 1
    assert sum(bool(ax.texts) for ax in figure.axes) == 1  # only the cue that the vector should find


def test_cues_are_shaded_at_their_seconds_where_they_are_known(clip):
    figure = plots.attention_over_clip(**clip, cues={"face": (0.5, 1.25), "voice": (2.0, 3.5)})
    for ax, (start, end) in ((figure.axes[0], (0.5, 1.25)), (figure.axes[2], (2.0, 3.5))):
        (label,), shade = [text for text in ax.texts if text.get_text() == "cue (truth)"], ax.patches[-1]
        assert label.get_position()[0] == pytest.approx((start + end) / 2)
        assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx((start, end))
    for cues in (None, {"face": (np.nan, np.nan)}):
        assert not any(ax.texts for ax in plots.attention_over_clip(**clip, cues=cues).axes)


def test_attention_map_puts_queries_and_keys_at_their_seconds(rng):
    weights = rng.dirichlet(np.ones(Tv), Ta)  # (Ta, Tv), rows sum to 1
    ax = plots.attention_map(weights, TIMES, "video_to_audio")
    left, right, bottom, top = ax.images[0].get_extent()
    assert pixels(ax.images[0]) == pytest.approx(weights * Tv) and ax.images[0].origin == "lower"  # 1 = even
    assert (left, right, (bottom + top) / 2) == pytest.approx((0, WINDOW, AUDIO_TIMES.mean()))


def test_hidden_keys_of_a_map_are_blank_and_the_others_compared_with_the_visible_ones():
    weights = np.array([[1.0, 0, 0], [0.25, 0.75, 0], [0.5, 0.25, 0.25]])
    ax = plots.attention_map(weights, {"audio": np.arange(3), "video": np.arange(3)}, "video_to_audio")
    relative = np.ma.masked_invalid(ax.images[0].get_array())
    assert relative.mask.tolist() == [[False, True, True], [False, False, True], [False] * 3]
    assert relative.compressed() == pytest.approx([1, 0.5, 1.5, 1.5, 0.75, 0.75])


def test_nearly_even_attention_is_drawn_neither_as_a_peak_nor_in_colour(clip):
    image = plots.attention_maps({"video_to_audio": np.full((1, Ta, Tv), 1 / Tv)}, TIMES).axes[0].images[0]
    assert image.get_clim() == (0, 2) and image.to_rgba([1.0])[0] == pytest.approx((1, 1, 1, 1), abs=0.02)  # white
    clip["vectors"]["video"] = 1 + 0.01 * (np.arange(Tv) % 2)
    low, high = plots.attention_over_clip(**clip).axes[0].get_ylim()
    assert low < 0.8 and high > 1.2


def test_the_heads_of_a_direction_share_a_scale_and_its_bar(rng):
    heads = 3
    weights = {"video_to_audio": rng.dirichlet(np.ones(Tv), (heads, Ta))}  # audio looks at video
    weights |= {"audio_to_video": rng.dirichlet(np.ones(Ta), (heads, Tv))}
    figure = plots.attention_maps(weights, TIMES)
    maps, bars = figure.axes[: 2 * heads], figure.axes[2 * heads :]
    for row, bar, name in zip((maps[:heads], maps[heads:]), bars, weights, strict=True):
        relative = weights[name] * weights[name].shape[-1]
        for ax in row:
            assert ax.images[0].get_clim() == pytest.approx((2 - relative.max(), relative.max()))
        assert bar.get_ylim() == pytest.approx((0, relative.max()))
        assert all(pixels(ax.images[0]) == pytest.approx(head) for ax, head in zip(row, relative, strict=True))
    assert (maps[0].get_ylabel(), maps[heads].get_xlabel()) == ("query: audio (s)", "key: audio (s)")


def by_emotion(means):
    return {name: pd.DataFrame(mean, EMOTIONS) for name, mean in means.items()}


def test_attention_by_emotion_centres_each_scale_at_even(rng):
    means = {"audio": rng.uniform(0.5, 3, (3, Ta)), "video": rng.uniform(0.9, 1.1, (3, Tv))}
    figure = plots.attention_by_emotion(by_emotion(means), TIMES)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == EMOTIONS
    for ax, modality in zip(figure.axes[:2], ("video", "audio"), strict=True):
        assert ax.get_title() == modality and pixels(ax.images[0]) == pytest.approx(means[modality])
        low, high = ax.images[0].get_clim()
        assert (low + high) / 2 == pytest.approx(1) and low <= means[modality].min() < means[modality].max() <= high


def test_no_figure_fails_on_sequences_of_a_single_step(rng):
    """The arrays of a corpus of embeddings: one vector of each modality, for a whole clip."""
    times = dict.fromkeys(("audio", "video"), plots.even_times(1, PLACE))
    ones = {"audio": np.ones(1), "video": np.ones(1)}
    audio, video = rng.normal(size=(17, 1)), rng.normal(size=(13, 1))
    maps = {"video_to_audio": np.ones((2, 1, 1)), "audio_to_video": np.ones((2, 1, 1))}
    figures = [plots.attention_over_clip(ones, times, video, audio, clock=PLACE)]
    figures += [plots.attention_by_emotion(by_emotion({name: np.ones((3, 1)) for name in ones}), times, PLACE)]
    figures += [plots.attention_maps(maps, times, clock=PLACE)]
    figures += [plots.dropout_variants(audio[None], video.T[None], ["full"], PLACE)]
    for figure in figures:
        figure.draw_without_rendering()
        for image in (image for ax in figure.axes for image in ax.images):
            assert np.ptp(image.get_extent()[:2]) > 0 and np.ptp(image.get_clim()) > 1e-3
            assert np.isfinite(image.get_array()).all()


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


def test_attribution_lies_under_the_attention_or_alone_over_its_input(clip, rng):
    scores = {"video": rng.normal(size=Tv), "audio": rng.normal(size=STEPS)}
    methods = {"occlusion": scores, "ablation": {"audio": None}, "integrated gradients": scores}
    figure = plots.attention_over_clip(**clip, attribution=methods, cues={"face": (1.0, 2.0)})
    titles = [ax.get_title(loc="left").split(",")[0] for ax in figure.axes]
    assert [title.split(":")[0] for title in titles] == ["video"] * 3 + [""] + ["audio"] * 3 + [""]
    assert titles[1:3] == ["video: occlusion", "video: integrated gradients"]
    assert {ax.get_xlim() for ax in figure.axes} == {(0, WINDOW)}
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


def test_the_shares_of_the_modalities_are_means_over_the_clips_of_an_emotion():
    rows = [("sad", 1.0, 2.0, 0.5), ("sad", 3.0, -2.0, 0.5), ("calm", 0.5, 0.25, -1.0)]
    ax = plots.branches(pd.DataFrame(rows, columns=["emotion", "audio", "video", "together"]))
    audio, video = ([bar.get_width() for bar in bars] for bars in ax.containers)
    assert (audio, video) == ([2.0, 0.5], [0.0, 0.25])
    assert ax.lines[0].get_xdata().tolist() == [0.5, -1.0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["sad", "calm"]


def test_outputs_of_two_networks_stand_beside_each_other_with_the_answers_before_a_change():
    values, before = [np.array([0.1, 0.9]), np.array([0.7, 0.3])], [np.array([0.2, 0.8]), np.array([0.6, 0.4])]
    ax = plots.outputs(values, before, "A", ["sad", "calm"])
    assert [[bar.get_width() for bar in bars] for bars in ax.containers] == [[0.1, 0.9], [0.7, 0.3]]
    assert [lines.get_segments()[0][0, 0] for lines in ax.collections] == [0.2, 0.6]
    assert ax.get_title(loc="left") == "A  audio alone\ncalm 90%\nsad 70%" and ax.yaxis_inverted()
    score = plots.outputs([np.array([-1.25]), None], [np.array([0.5]), None], "AV", ["sentiment"])
    assert score.get_title(loc="left").endswith("\n-1.25") and score.get_xlim() == (-3, 3)
