"""Media on their own clock: films with a flash and a beep at a known second, written packet by packet."""

import struct
from fractions import Fraction
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from workbook import InputError
from workbook.data.media import open_video, read_audio, read_frames
from workbook.data.window import HOP, SAMPLE_RATE, Picture, place_window

CODECS = {  # container -> codecs of picture and sound, and the rate of the sound
    "mp4": ("libx264", "aac", 44_100),
    "mov": ("libx264", "aac", 48_000),
    "mkv": ("libx264", "aac", 22_050),
    "webm": ("libvpx", "libopus", 48_000),
    "ts": ("libx264", "aac", 44_100),
    "flv": ("flv", "libmp3lame", 22_050),
    "avi": ("mpeg4", "libmp3lame", 44_100),
}
SECONDS, AT, STEP = 4.0, 2.5, HOP / SAMPLE_RATE
OFFSETS = {"none": (0, 0), "picture 0.7 s later": (0.7, 0), "sound 0.7 s later": (0, 0.7), "both 3 s later": (3, 3)}
GAPS = {"none": (0, 0), "1 s": (0.9, 1.9), "60 ms": (1.2, 1.26)}
RATES = {"10": 10, "25": 25, "29.97": Fraction(30000, 1001), "variable": 25}


def grey(level, size=(32, 48)):
    return np.full((*size, 3), level, np.uint8)


def picture_packets(container, images, times, rate, codec, last=None):
    """The packets of a picture track with a frame at each of `times`; last : seconds that the last one is held."""
    options = {"threads": "1", "preset": "ultrafast"} if codec == "libx264" else {}
    stream = container.add_stream(codec, rate=rate, options=options)
    stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
    base = 1 / Fraction(rate) if codec in ("mpeg4", "flv") else Fraction(1, 90_000)
    stream.codec_context.time_base = base
    packets = []
    for image, time in zip(images, times, strict=True):
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = round(time / base), base
        packets += stream.encode(frame)
    packets += stream.encode()
    if last:
        packets[-1].duration = round(last / base)
    return packets


def sound_packets(container, samples, rate, codec, start=0.0):
    """The packets of a sound track whose first sample (n,) is heard at second `start`."""
    stream = container.add_stream(codec, rate=rate, layout="mono")
    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
    size = stream.codec_context.frame_size
    resampler = av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=rate, frame_size=size)
    blocks = [*resampler.resample(frame), *resampler.resample(None)]
    return [packet for block in [*blocks, None] for packet in stream.encode(block)]


def mux(path, *makers, **options):
    with av.open(str(path), "w", format={".ts": "mpegts"}.get(Path(path).suffix), **options) as container:
        packets = [packet for maker in makers for packet in maker(container)]
        packets.sort(key=lambda packet: (packet.pts if packet.dts is None else packet.dts) * packet.time_base)
        container.mux(packets)
    return path


def beep(seconds, rate, at):
    """Quiet noise, loud from second `at` on."""
    noise = np.random.default_rng(0).uniform(-1, 1, round(seconds * rate)).astype(np.float32)
    return noise * np.where(np.arange(len(noise)) < round(at * rate), np.float32(0.002), np.float32(0.5))


def write_film(path, *, offset=(0, 0), gap=(0, 0), rate=25, is_variable=False, turned=0, longer=0.0, last=None):
    """A film that flashes and beeps at second AT, or as much later as both of its tracks begin."""
    codec, sound_codec, hertz = CODECS[path.suffix[1:]]
    at, end = AT + min(offset), SECONDS + min(offset)
    times = np.arange(np.ceil(offset[0] * float(rate) - 1e-9), end * float(rate)) / float(rate)
    if is_variable:  # stills are dropped, as by screen recorders
        times = times[(np.abs(times - at) < 0.3) | (np.arange(len(times)) % 7 == 0)]
    images = [np.rot90(grey(220 if time >= at - 1e-6 else 40), -turned // 90) for time in times]

    def picture(container):
        packets = picture_packets(container, images, times, rate, codec, last)
        if turned:
            container.streams.video[0].set_display_rotation(turned)
        return packets

    def sound(container):
        samples = beep(end + longer - offset[1], hertz, at - offset[1])
        packets, shift = sound_packets(container, samples, hertz, sound_codec, offset[1]), min(offset)
        return [p for p in packets if not gap[0] + shift <= float(p.pts * p.time_base) < gap[1] + shift]

    return mux(path, picture, sound)


def flash_and_beep(path):
    """The seconds at which a film is read as bright, and as loud, to 5 ms."""
    times = np.arange(0, 8, 0.005)
    times = times[open_video(path).picture.shows(times)]
    bright = read_frames(path, times).mean(axis=(1, 2, 3)) > 130
    return times[bright.argmax()], (np.abs(read_audio(path)) > 0.2).argmax() / SAMPLE_RATE


def films():
    """What is put together: container, offset, gap, turn, frame rate; avi has neither offsets nor gaps of its sound."""
    for suffix, offset, gap, turned, rate in product(CODECS, OFFSETS, GAPS, (0, 90), RATES):
        is_mp4 = suffix in ("mp4", "mov", "mkv")
        is_plain = offset == gap == "none"
        if (is_plain or suffix != "avi") and (not turned or (is_mp4 and suffix != "mkv")):
            yield suffix, offset, gap, turned, rate


def measure(folder, suffix, offset, gap, turned, rate):
    """flash and beep of such a film in seconds, and the length of its frames."""
    clock = {"offset": OFFSETS[offset], "gap": GAPS[gap], "rate": RATES[rate], "is_variable": rate == "variable"}
    path = write_film(folder / f"film.{suffix}", **clock, turned=turned)
    return *flash_and_beep(path), 1 / float(RATES[rate])


@pytest.mark.parametrize("suffix", CODECS)
def test_flash_and_beep_come_at_the_second_that_the_file_says(tmp_path, suffix):
    chosen = [film for film in films() if film[0] == suffix]
    for film in chosen[:: max(1, len(chosen) // 6)]:
        flash, heard, frame = measure(tmp_path, *film)
        assert abs(flash - AT) < max(frame, 0.06) and abs(heard - AT) < 0.06, (film, flash, heard)
        assert abs(flash - heard) < frame + STEP, (film, flash, heard)


@pytest.mark.slow
def test_every_film_of_the_table_flashes_and_beeps_at_the_same_second(tmp_path):
    for film in films():
        flash, heard, frame = measure(tmp_path, *film)
        assert abs(flash - heard) < frame + STEP, (film, flash, heard)


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("longer, last", [(1.5, None), (0.0, 2.0)])
def test_a_whole_film_keeps_its_picture_whatever_its_tracks_and_its_last_frame_last(tmp_path, suffix, longer, last):
    path = write_film(tmp_path / f"a.{suffix}", longer=longer, last=last)
    has_lengths = suffix not in ("ts", "flv")  # of its frames
    assert open_video(path).picture.seconds == pytest.approx(SECONDS + (last or 0) * has_lengths, abs=0.15)
    assert (read_frames(path, np.array([0.1, 2.0, 3.9])).mean(axis=(1, 2, 3)) > 130).tolist() == [False, False, True]


def remux(film, path, **options):
    """Muxes the packets of a film anew; `path` may be a pipe, of which only the end can be written."""
    with av.open(str(film)) as source, av.open(path, "w", **options) as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)


@pytest.mark.parametrize("suffix", ["webm", "mkv", "mp4"])
@pytest.mark.parametrize("is_variable", [False, True])
def test_a_recording_of_a_browser_is_read_to_its_end(tmp_path, suffix, is_variable):
    film = write_film(tmp_path / f"a.{suffix}", is_variable=is_variable, offset=(0.2, 0))
    path, kind = tmp_path / f"b.{suffix}", {"mkv": "matroska"}.get(suffix, suffix)
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if suffix == "mp4" else {}
    with open(path, "wb") as file:
        remux(film, SimpleNamespace(write=file.write), format=kind, container_options=options)
    with av.open(str(path)) as container:
        assert suffix == "mp4" or container.duration is None
    assert open_video(path).picture.seconds == pytest.approx(SECONDS, abs=0.3)
    flash, heard = flash_and_beep(path)
    # An mp4 in fragments has no edit list: its tracks lose what they begin apart.
    assert abs(flash - heard) < 1 / 25 + STEP + 0.2 * (suffix == "mp4")


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "flv", "avi"])
@pytest.mark.parametrize("last", [None, 2.0])
def test_a_torn_film_is_told_by_its_own_bytes(tmp_path, suffix, last):
    film = write_film(tmp_path / f"a.{suffix}", last=last)
    if suffix in ("mp4", "mov"):  # whose table of frames may come first
        remux(film, str(tmp_path / f"b.{suffix}"), options={"movflags": "faststart"})
        film = tmp_path / f"b.{suffix}"
    torn = tmp_path / f"torn.{suffix}"
    torn.write_bytes(film.read_bytes()[: int(0.6 * film.stat().st_size)])
    with pytest.raises(InputError, match=r"is cut short: its picture ends at .* s of "):
        open_video(torn)
    assert open_video(film).picture.seconds > 3.9


def test_a_picture_that_begins_late_has_no_frames_before(tmp_path):
    path = write_film(tmp_path / "a.mkv", offset=(1.5, 0))
    picture, times = open_video(path).picture, np.array([0.5, 1.3, 1.6, 3.9])
    assert picture == Picture(pytest.approx(4.0, abs=0.05), 25.0, pytest.approx(1.52, abs=0.03))
    assert picture.shows(times).tolist() == [False, False, True, True] and len(read_frames(path, times)) == 2
    window = place_window("authors", 4 * SAMPLE_RATE, picture, 15)
    assert window.frame_times[0] == pytest.approx(1.5 + 3 / 25, abs=0.03)


def test_the_default_tracks_are_read(tmp_path):
    default, other = av.stream.Disposition.default, av.stream.Disposition(0)

    def tracks(container):
        packets = picture_packets(container, [grey(40, (16, 16))] * 50, np.arange(50) / 25, 25, "libx264")
        packets += picture_packets(container, [grey(200)] * 50, np.arange(50) / 25, 25, "libx264")
        packets += sound_packets(container, np.zeros(44_100, np.float32), 22_050, "aac")
        packets += sound_packets(container, beep(2, 22_050, 1.0), 22_050, "aac")
        for first, second in (container.streams.video, container.streams.audio):
            first.disposition, second.disposition = other, default
        return packets

    for suffix in ("mkv", "mp4"):
        path = mux(tmp_path / f"a.{suffix}", tracks)
        assert read_frames(path, np.array([0.5])).shape == (1, 32, 48, 3) and read_audio(path).max() > 0.3


QUARTERS = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]  # a b c d: x' = ax + cy, y' = bx + dy
MIRRORED = [(-1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 0, -1), (0, -1, -1, 0)]


@pytest.mark.parametrize("a, b, c, d", QUARTERS + MIRRORED)
def test_every_turn_and_mirror_of_a_display_matrix_is_obeyed(tmp_path, a, b, c, d):
    corners = np.zeros((32, 48, 3), np.uint8)
    corners[:16, :24], corners[:16, 24:], corners[16:, :24], corners[16:, 24:] = 30, 90, 150, 210
    frames = [corners] * 3, [0, 0.1, 0.2], 10, "libx264"
    path = mux(tmp_path / "a.mp4", lambda container: picture_packets(container, *frames))
    content, one = path.read_bytes(), 1 << 16
    place = content.index(struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30), content.index(b"tkhd"))
    x, y = 48 * (a < 0) + 32 * (c < 0), 48 * (b < 0) + 32 * (d < 0)
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, x * one, y * one, 1 << 30)
    path.write_bytes(content[:place] + matrix + content[place + 36 :])
    wide, high = (48, 32) if a else (32, 48)
    expected = np.zeros((high, wide))
    for row, column in np.ndindex(32, 48):
        right, down = column + 0.5, row + 0.5  # the middle of a pixel, by the definition
        expected[int(b * right + d * down + y), int(a * right + c * down + x)] = corners[row, column, 0]
    np.testing.assert_allclose(read_frames(path, np.array([0.1]))[0, ..., 0], expected, atol=12)
