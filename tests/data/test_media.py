"""The window, the frames, the sound, the faces: each against a rule written down a second time or a trusted library."""

import struct
import tracemalloc
from fractions import Fraction

import av
import librosa
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from scipy.signal import correlate

from workbook import InputError
from workbook.data.faces import crop_face
from workbook.data.media import open_video, read_audio, read_frames
from workbook.data.mtcnn import FaceDetector, Sums
from workbook.data.window import SAMPLE_RATE, WINDOW_SAMPLES, Picture, cut_window, place_window
from workbook.toy import corpus as toy

FPS = 10


def write_video(path, frames, samples=None, fps=FPS, options=None, turned=0):
    """An mp4 of (n, H, W, 3) uint8 RGB frames and of mono samples at 22.05 kHz; None = it has no such track.

    turned : degrees counterclockwise by which a player has to turn the frames
    """
    with av.open(str(path), "w") as container:
        if frames is not None:
            video = container.add_stream("libx264", rate=fps, options={"crf": "10", "threads": "1"} | (options or {}))
            video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
            if turned:
                video.set_display_rotation(turned)
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if samples is not None else None
        if frames is not None:
            for frame in frames:
                container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(video.encode())
        if audio:
            sound = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
            sound.sample_rate = SAMPLE_RATE
            container.mux(audio.encode(sound))
            container.mux(audio.encode())
    return path


def grey_levels(count):
    """Frames of 32 x 48 pixels that tell their own number: frame i has the grey level 20 + 9 i."""
    return np.broadcast_to(np.arange(20, 20 + 9 * count, 9, dtype=np.uint8)[:, None, None, None], (count, 32, 48, 3))


def tone(hertz, seconds, rate=SAMPLE_RATE):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_the_authors_frames_are_those_that_their_formula_selects():
    select_distributed = lambda m, n: [i * n // m + n // (2 * m) for i in range(m)]  # noqa: E731
    window = place_window("authors", 7 * SAMPLE_RATE, Picture(7.0, 30000 / 1001), frames=15)
    np.testing.assert_allclose(window.frame_times * 30000 / 1001, select_distributed(15, 108))


@pytest.mark.parametrize("length", [WINDOW_SAMPLES + 1, WINDOW_SAMPLES + 2, 89_003, 441_011])
def test_the_authors_crop_of_a_long_sound_is_theirs(length):
    samples = np.arange(length)
    remain = length - WINDOW_SAMPLES
    theirs = samples[remain // 2 : -(remain - remain // 2)]
    np.testing.assert_array_equal(cut_window(samples, place_window("authors", length, None, 15).audio_start), theirs)


def test_the_frames_read_are_the_nearest_in_time(tmp_path):
    path = write_video(tmp_path / "a.mp4", grey_levels(23))
    assert open_video(path).picture == Picture(2.3, FPS)
    times = np.array([0.0, 0.04, 0.06, 0.31, 0.77, 0.79, 1.44, 2.19, 2.29])
    nearest = np.abs(np.arange(23) / FPS - times[:, None]).argmin(axis=1)
    frames = read_frames(path, times)
    assert frames.shape == (9, 32, 48, 3) and frames.dtype == np.uint8
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), 20 + 9 * nearest, atol=3)


def test_a_film_in_the_working_directory_may_have_a_colon_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "12:30.mp4", grey_levels(5))
    assert open_video("12:30.mp4").picture == Picture(0.5, FPS)


@pytest.mark.parametrize(("step", "first"), [(1, 0.0), (4, 2.51), (14, 0.0)])
@pytest.mark.parametrize("more", ["open-gop=0", "open-gop=1"])
def test_leaving_frames_out_while_decoding_changes_none_of_the_wanted(tmp_path, more, first, step):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (37, 8, 12, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    options = {"g": "11", "bf": "3", "b-pyramid": "normal", "x264-params": more}
    path = write_video(tmp_path / "a.mp4", pictures, options=options)
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    wanted = [number for number in range(0, 37, step) if number / FPS >= first]
    frames = read_frames(path, np.array(wanted) / FPS + 0.01)
    np.testing.assert_array_equal(frames, [decoded[number] for number in wanted])


def test_a_long_video_costs_the_memory_of_the_wanted_frames_only(tmp_path):
    path = write_video(tmp_path / "a.mp4", np.zeros((307, 120, 160, 3), np.uint8))
    tracemalloc.start()
    read_frames(path, np.linspace(0, 30, 5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 120 * 160 * 3


def write_changing(path, sizes):
    """A film of single pictures in which the size of a frame changes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "yuvj420p"
        for number, (width, height) in enumerate(sizes):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height = width, height
            encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, FPS)
            grey = np.full((height, width, 3), 20 + 9 * number, np.uint8)
            for packet in encoder.encode(av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="yuvj420p")):
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, encoder.time_base
                container.mux(packet)
    return path


def test_a_film_whose_size_changes_midway_has_each_frame_in_its_own(tmp_path):
    from workbook.data.prepare import groups

    path = write_changing(tmp_path / "a.mp4", [(48, 32)] * 5 + [(64, 96)] * 4 + [(48, 32)])
    groups = list(groups(open_video(path).frames(np.arange(10) / FPS + 0.01)))
    sizes = [(5, (32, 48, 3)), (4, (96, 64, 3)), (1, (32, 48, 3))]
    assert [(len(group), group[0].shape) for group in groups] == sizes
    seen = [frame.mean() for group in groups for frame in group]
    np.testing.assert_allclose(seen, 20 + 9 * np.arange(10), atol=3)


@pytest.mark.parametrize("name, rate, channels", [("a.wav", 96_000, 2), ("a.flac", 22_050, 1)])
def test_sound_is_what_librosa_loads(tmp_path, name, rate, channels):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (rate, channels))
    soundfile.write(tmp_path / name, samples, rate)
    ours, theirs = read_audio(tmp_path / name), librosa.load(tmp_path / name, sr=SAMPLE_RATE)[0]
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi"])
def test_the_sound_track_of_a_film_is_the_sound_that_went_in_but_for_the_encoders_delay(tmp_path, suffix):
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, 3_300).repeat(10).astype(np.float32)
    samples = read_audio(write_video(tmp_path / f"a.{suffix}", grey_levels(15), sound))
    delay = correlate(samples, sound).argmax() - (len(sound) - 1)
    assert 0 <= delay <= 2048
    kept = min(len(sound), len(samples) - delay)
    assert np.corrcoef(sound[:kept], samples[delay : delay + kept])[0, 1] > 0.98


def test_a_sound_of_a_phone_is_read_and_the_cover_of_a_sound_is_no_picture(tmp_path):
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 48, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(grey_levels(1)[0], format="rgb24")))
        container.mux(cover.encode())
        sound = av.AudioFrame.from_ndarray(tone(440, 1.0)[None], format="fltp", layout="mono")
        sound.sample_rate = SAMPLE_RATE
        container.mux(audio.encode(sound))
        container.mux(audio.encode())
    assert read_audio(path).max() > 0.3
    with pytest.raises(InputError, match=r"a\.m4a has no picture track"):
        open_video(path)


FOREIGN = {"a.txt": "text", "a.png": "a still picture", "still.mp4": "a still picture"}
FOREIGN |= dict.fromkeys(("a.ffconcat", "list.mp4"), "a list of other files")


@pytest.mark.parametrize("name, content", FOREIGN.items())
def test_what_is_neither_film_nor_sound_is_refused_by_what_it_is(tmp_path, name, content):
    path = tmp_path / name
    write_video(tmp_path / "other.ts", grey_levels(30))
    path.write_text("ffconcat version 1.0\nfile other.ts\n" if "list" in content else "Dear all,\n" * 99)
    if "picture" in content:
        Image.fromarray(grey_levels(1)[0]).save(path, format="png")
    for read in (read_audio, *[open_video] * (name != "a.png")):
        with pytest.raises(InputError, match=f"{name} is {content}, where a film or a sound is expected"):
            read(path)


@pytest.mark.parametrize("rate", [1, 2**31 - 1])
def test_a_rate_that_no_sound_has_is_refused_before_it_takes_memory(tmp_path, rate):
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, min(2 * rate, 2**32 - 1), 2, 16)
    content = b"WAVE" + form + b"data" + struct.pack("<I", 88_000) + bytes(88_000)  # 44 000 samples of 16 bits
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a.wav says that its sample rate is .*: 1,000 to 1,000,000 can be read"):
        read_audio(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_frame_too_large_for_a_film_is_refused_before_it_is_decoded(tmp_path):
    path = write_changing(tmp_path / "a.mp4", [(8192, 4112)])
    with pytest.raises(InputError, match=r"a.mp4 says that its number of pixels is 33,685,504: 1 to 33,554,432 can be"):
        read_frames(path, np.array([0.05]))


def test_faces_that_promise_terabytes_are_refused_before_they_take_memory(tmp_path):
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**8, 224, 224, 3)}
    with open(tmp_path / "a_facecroppad.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(InputError, match="cannot be read as an array of faces"):
        open_video(tmp_path / "a_facecroppad.npy")


@pytest.fixture(scope="module")
def large_faces():
    """Five frames of a drawn actor at 960 x 720 or so, with a face as large in them as RAVDESS's are."""
    frames = toy.plan_clip(0, 3, "happy", 0).frames()[::9][:5]
    return frames.repeat(720 // frames.shape[1], axis=1).repeat(720 // frames.shape[1], axis=2)


@pytest.mark.parametrize("box", [(0, 0, 53, 41), (7, 3, 50, 40), (11, 5, 18, 10)])
def test_a_part_of_a_frame_is_averaged_as_pytorch_does_it(box):
    frame = np.random.default_rng(0).integers(0, 256, (41, 53, 3), np.uint8)
    left, top, right, bottom = box
    part = torch.from_numpy(frame[top:bottom, left:right].copy()).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(part, size=(17, 13), mode="area")[0].permute(1, 2, 0)
    np.testing.assert_allclose(Sums(frame).part(*box, height=17, width=13), expected, rtol=1e-5)


def test_looking_for_large_faces_only_leaves_the_boxes_of_the_whole_cascade(large_faces):
    from facenet_pytorch import MTCNN

    boxes, confidence = FaceDetector().detect(large_faces)
    whole, _ = MTCNN().detect(large_faces)
    assert (confidence > 0.95).all()
    for ours, theirs in zip(boxes, whole, strict=True):
        np.testing.assert_allclose(ours, theirs[0].astype(float), atol=0.5)


def test_a_frame_without_a_face_has_no_box_and_takes_none_from_its_neighbours(large_faces):
    frames = large_faces[:3].copy()
    frames[1] = 128
    boxes, confidence = FaceDetector().detect(frames)
    assert np.isnan(boxes[1]).all() and confidence[1] == 0
    assert (confidence[[0, 2]] > 0.9).all()


@pytest.mark.parametrize("shape", [(0, 96, 96, 3), (2, 16, 16, 3), (2, 21, 97, 3), (1, 240, 320, 3)])
def test_frames_without_any_face_are_no_error(shape):
    boxes, confidence = FaceDetector().detect(np.zeros(shape, np.uint8))
    assert np.isnan(boxes).all() and not confidence.any()


def test_a_crop_is_the_box_as_far_as_it_lies_in_the_frame():
    frame = np.zeros((60, 100, 3), np.uint8)
    frame[:30, :50], frame[30:, 50:] = (255, 0, 0), (0, 0, 255)
    whole = crop_face(frame, np.array([-20.0, -7.0, 120.0, 90.0]), 8)
    assert whole.shape == (8, 8, 3)
    assert list(whole[0, 0]) == [255, 0, 0] and list(whole[-1, -1]) == [0, 0, 255] and not whole[0, -1].any()
    corner = crop_face(frame, np.array([50.4, 29.6, 99.0, 59.0]), 8)
    assert (corner == (0, 0, 255)).all()


@pytest.mark.shared
@pytest.mark.parametrize("clip", ["01-01-01-02-01-05", "01-06-02-02-01-05"])
def test_crops_of_real_clips_are_the_authors(shared, clip):
    """Same protocol, same frames, same boxes: what is left is their resize, which does not average."""
    from workbook.data.prepare import prepare_clip

    trial = {"clip": clip, "audio_path": "", "video_path": str(shared / f"ravdess/Actor_05/01-{clip}.mp4")}
    ours = prepare_clip(trial, 15, 224, "authors").video.astype(float)
    theirs = np.load(shared / f"ravdess_authors_preprocessed/01-{clip}_facecroppad.npy").astype(float)
    shown = theirs.any(axis=(1, 2, 3))
    np.testing.assert_array_equal(ours.any(axis=(1, 2, 3)), shown)
    assert shown.sum() >= 13
    for our, their in zip(ours[shown], theirs[shown], strict=True):
        assert np.corrcoef(our.ravel(), their.ravel())[0, 1] > 0.998
        assert np.abs(our - their).mean() < 2  # of 255
        assert np.abs(our[..., ::-1] - their).mean() > 20  # the order of the colours is theirs too


@pytest.mark.shared
@pytest.mark.parametrize("clip", ["01-01-01-01-01-05", "01-06-02-01-01-05", "01-07-01-01-01-05"])
def test_windows_of_real_speech_are_the_authors(shared, clip):
    """Sample by sample; theirs came from the 48 kHz files by another resampler, hence no equality."""
    theirs, _ = soundfile.read(shared / f"ravdess_authors_preprocessed/03-{clip}_croppad.wav")
    samples = read_audio(shared / f"ravdess/Actor_05/03-{clip}.flac")
    for protocol in ("paper", "authors"):
        ours = cut_window(samples, place_window(protocol, len(samples), None, 15).audio_start)
        assert np.corrcoef(ours, theirs)[0, 1] > 0.998
        assert np.corrcoef(np.roll(ours, 5), theirs)[0, 1] < 0.99
