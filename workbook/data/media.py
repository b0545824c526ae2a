"""The picture and the sound of a clip's files: the one place that knows their clocks, tracks and turns.

All times are seconds of the file's own clock, as players show them: second 0 is when the first of its tracks begins.
Sound that begins later has silence before, and so have gaps; a picture that begins later has no frames before.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path

import av
import numpy as np
import soundfile
from av.video.reformatter import Colorspace
from PIL import Image, ImageOps

from workbook import InputError
from workbook.data.window import AUTHORS_FPS, IMAGE_FORMATS, IMAGES, SAMPLE_RATE, WINDOW, Picture
from workbook.files import path_of

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".aif", ".aiff", ".au")  # read by libsndfile; all else by FFmpeg
DEFAULT = av.stream.Disposition.default  # of the track that players choose
STILLS = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails  # covers and previews
LISTS = {"concat", "dash", "hls", "imf", "sdp", "vobsub", "webm_dash_manifest"}  # formats that name other files
TOLERANCE = 0.02  # seconds by which the sound may leave its clock, less than a step of the MFCCs: recorders jitter
LIMITS = {  # least and most that a header may say: beyond, a few bytes would ask for gigabytes
    "sample rate": (1e3, 1e6),  # hertz
    "number of samples": (0, 2**28),  # 1 GB: 46 minutes of stereo at 48 kHz in a wav, 93 in a film
    "frame rate": (0.01, 1e4),  # frames per second
    "number of pixels": (1, 2**25),  # of a frame: 8K television has 7680 x 4320
    "length in seconds": (0, 3 * 3600),
}


def read_audio(path: Path | str) -> np.ndarray:
    """A file's sound as mono float32 in [-1, 1] at 22.05 kHz, (samples,): what `librosa.load(path, sr=22050)` gives.

    Channels are averaged; it begins at second 0. A sound track keeps the delay of its encoder where the file does not
    declare it: in RAVDESS it is 33 ms late. Raises InputError where there is no sound to read.
    """
    path = check_file(path)
    samples, rate = (_read_soundfile if path.suffix.lower() in SOUNDS else _read_track)(path)
    if not samples.size:
        raise InputError(f"{path.name} holds no sound: its sound track has no samples")
    import librosa  # heavy: a second, and only needed here

    return librosa.resample(samples.mean(axis=0), orig_sr=rate, target_sr=SAMPLE_RATE)


def _read_soundfile(path: Path) -> tuple[np.ndarray, int]:
    """The samples (channels, n) and their rate of a wav or flac file."""
    failure = f"{path.name} cannot be read as {path.suffix[1:]} sound"
    with _reading(failure), soundfile.SoundFile(os.fsencode(path)) as file:
        _check_sound(path, file.samplerate, file.frames, file.channels)
        return file.read(dtype="float32", always_2d=True).T, file.samplerate


def _read_track(path: Path) -> tuple[np.ndarray, int]:
    """The samples (1, n), the mean of all channels, and their rate of a film's sound track, from second 0 on."""
    blocks, count, graph, rate = [np.zeros((1, 0), np.float32)], 0, None, SAMPLE_RATE
    with _open(path) as container, _reading(f"the sound track of {path.name} cannot be decoded"):
        stream = _main_track(path, container.streams.audio, "sound")
        zero = _zero(container)
        for frame in container.decode(stream):
            if graph is None:
                graph, rate = _clock_filters(frame, zero), frame.sample_rate
            count = max(count, round(((frame.time or 0) - zero) * rate)) + frame.samples
            _check_sound(path, frame.sample_rate, count, channels=1)
            graph.push(frame)
        if graph:
            graph.push(None)
            with suppress(av.EOFError):
                while True:
                    blocks.append(graph.pull().to_ndarray().mean(axis=0, keepdims=True))
    return np.concatenate(blocks, axis=1), rate


def _clock_filters(frame: av.AudioFrame, zero: float) -> av.filter.Graph:
    """FFmpeg's filters for the track that begins with this frame: floats, with silence where the clock has no sound."""
    graph = av.filter.Graph()
    source = {"format": frame.format.name, "layout": frame.layout.name, "time_base": frame.time_base}
    graph.link_nodes(
        graph.add_abuffer(sample_rate=frame.sample_rate, **source),
        graph.add("asetpts", f"PTS-{zero}/TB"),
        graph.add("aresample", f"async=1:first_pts=0:min_hard_comp={TOLERANCE}"),
        graph.add("aformat", "sample_fmts=fltp"),
        graph.add("abuffersink"),
    ).configure()
    return graph


def read_frames(path: Path | str, times: np.ndarray) -> np.ndarray:
    """The frames of a film nearest to `times`, (n, H, W, 3) uint8 RGB."""
    return np.stack([*open_video(path).frames(times)])


def open_video(path: Path | str) -> "Film":
    """The picture of a film, an image, or the authors' `*_facecroppad.npy`. Raises InputError where there is none."""
    suffix = Path(path).suffix.lower()
    return CroppedFaces(path) if suffix == ".npy" else Still(path) if suffix in IMAGES else Video(path)


class Film:
    """The picture of a clip's file.

    picture : when it begins and ends, and its frame rate
    cropped : True = each frame is a face from edge to edge
    """

    picture: Picture
    cropped = False

    def frames(self, times: np.ndarray, bt601: bool = False) -> Iterator[np.ndarray]:
        """The frames nearest to some times, one after the other, each (H, W, 3) uint8 RGB, upright.

        times : ascending, in seconds. Times outside of the picture have no frame: see `Picture.shows`.
        bt601 : reads the colours as BT.601 whatever the file says, as the authors' OpenCV does. RAVDESS is BT.709: its
                faces come out redder then, and the detector's boxes differ by a few pixels.
        Raises InputError where the file cannot be decoded.
        """
        raise NotImplementedError


class Video(Film):
    """The picture of a film. A frame that is held for longer than the others is shown until the next one begins."""

    def __init__(self, path: Path | str):
        self.path = check_file(path)
        with self._open() as (container, stream):
            self._packets = [
                (packet.pts, packet.is_keyframe, packet.is_discard, packet.duration or 0)
                for packet in self._demux(container, stream)
            ]
            self._zero = _zero(container)
            self._stamps = self._visible_stamps()
            self._step = round(np.median(np.diff(self._stamps))) if len(self._stamps) > 1 else 0  # in time stamps
            self._seconds = self._stamps * float(stream.time_base) - self._zero
            self._wait = 0.6 * self._step * float(stream.time_base)  # longest time by which a frame may come too early
            self.picture = self._measure(stream)
            self._check_end(container, stream)

    def frames(self, times: np.ndarray, bt601: bool = False) -> Iterator[np.ndarray]:
        times = np.asarray(times, float)
        stamps = self._nearest(times[self.picture.shows(times)])
        with self._open() as (container, stream):
            for frame in self._decode(container, stream, set(stamps)):
                for _ in range(stamps.count(frame.pts)):
                    yield _to_rgb(frame, bt601)

    @contextmanager
    def _open(self) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
        """The film and its picture track in a `with` block."""
        with _open(self.path) as container:
            stream = _main_track(self.path, container.streams.video, "picture")
            _check(self.path, {"number of pixels": stream.width * stream.height})
            yield container, stream

    def _demux(self, container, stream) -> Iterator[av.Packet]:
        """The compressed frames in the order of the file; the last packet is empty and ends the decoding."""
        with _reading(f"the picture of {self.path.name} cannot be read"):
            yield from container.demux(stream)

    def _visible_stamps(self) -> np.ndarray:
        """The time stamps of the frames that can be decoded and are shown, sorted."""
        first = next((i for i, (_, is_key, *_) in enumerate(self._packets) if is_key), 0)
        stamps = [packet[0] for packet in self._packets[first:] if packet[0] is not None and not packet[2]]
        if not stamps:
            raise InputError(f"the picture of {self.path.name} has no frame that can be decoded")
        return np.unique([stamp for stamp in stamps if stamp >= stamps[0]])  # others are made from frames before these

    def _measure(self, stream) -> Picture:
        """The picture by its packets; its end by the header, too: a last frame may be held."""
        base = stream.time_base
        rate = stream.average_rate or stream.guessed_rate or 0
        if self._step and not 0.5 <= rate * self._step * base <= 2:  # such as a clock's ticks for frames
            rate = 1 / (self._step * base)
        end = int(self._stamps[-1]) + (self._step or round(1 / (rate * base)))
        if stream.duration is not None:
            end = max(end, (stream.start_time or 0) + stream.duration)
        else:
            end = max(end, *(pts + length for pts, _, is_hidden, length in self._packets if pts and not is_hidden), 0)
        seconds = float(end * base) - self._zero
        _check(self.path, {"length in seconds": seconds, "frame rate": float(rate)})
        return Picture(seconds, float(rate), float(self._seconds[0]))

    def _check_end(self, container, stream) -> None:
        """Raises InputError where the file is torn and lacks frames that its header promises."""
        base, frame = stream.time_base, 1 / self.picture.frame_rate
        promised = (container.duration or 0) / av.time_base
        if stream.duration is not None:
            promised = max((stream.start_time or 0) + stream.duration, 0) * base
        promised = max(float(promised), stream.frames * frame)  # of a torn avi, the length is estimated
        end = float(self._stamps[-1] * base) + frame
        if end < promised - 2 * frame and _is_torn(self.path):
            end, promised = end - self._zero, promised - self._zero
            raise InputError(f"{self.path.name} is cut short: its picture ends at {end:.2f} s of {promised:.2f} s")

    def _nearest(self, times: np.ndarray) -> list[int]:
        """The time stamps of the frames nearest to `times`, one for each; a frame never comes a whole one too early."""
        later = np.minimum(np.searchsorted(self._seconds, times), len(self._stamps) - 1)
        earlier = np.maximum(later - 1, 0)
        wait = self._seconds[later] - times
        is_later = (wait <= times - self._seconds[earlier]) & (wait <= self._wait)
        return self._stamps[np.where(is_later, later, earlier)].tolist()

    def _decode(self, container, stream, stamps: set[int]) -> Iterator[av.VideoFrame]:
        """The frames with these time stamps, in order; other frames are decoded only where these are made from them."""
        failure = f"the picture of {self.path.name} cannot be decoded"
        needed = _packets_to_decode(self._packets, stamps)
        # A frame that no other is made from: only H.264 says so in a way that every encoder agrees on.
        needless = "NONREF" if stream.codec_context.name == "h264" else "DEFAULT"
        for packet, is_needed in zip(self._demux(container, stream), needed, strict=True):
            if not stamps:
                return
            if not is_needed:
                continue
            stream.codec_context.skip_frame = "DEFAULT" if packet.pts in stamps else needless
            with _reading(failure):
                frames = packet.decode()
            for frame in frames:
                if frame.pts in stamps:
                    stamps.remove(frame.pts)
                    _check(self.path, {"number of pixels": frame.width * frame.height})
                    yield frame
        if stamps:
            raise InputError(f"{failure}: {len(stamps)} of its frames are damaged")


class CroppedFaces(Film):
    """The faces that the authors' extract_faces.py has left of a film, (15, 224, 224, 3) uint8 BGR.

    Each face stands for its share of 3.6 s; zeros at the end are padding.
    """

    cropped = True

    def __init__(self, path: Path | str):
        path = check_file(path)
        try:
            faces = np.load(path, allow_pickle=False, mmap_mode="r")  # takes no memory for what a header promises
            if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[-1] != 3 or not faces.any():
                raise ValueError(f"{faces.dtype} of shape {faces.shape}, not uint8 (15, 224, 224, 3), or all zero")
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{path.name} cannot be read as an array of faces: {error}") from error
        self._faces = np.array(faces)
        self._count = int(np.flatnonzero(self._faces.any(axis=(1, 2, 3))).max()) + 1  # without the padding
        self.picture = Picture(WINDOW * self._count / len(self._faces), AUTHORS_FPS)

    def frames(self, times: np.ndarray, bt601: bool = False) -> Iterator[np.ndarray]:
        times = np.asarray(times, float)
        shares = times[self.picture.shows(times)] / WINDOW * len(self._faces)
        yield from self._faces[np.minimum(shares.astype(int), self._count - 1), ..., ::-1]  # BGR to RGB


class Still(Film):
    """An image as a film of one window in which nothing moves; with a longer sound, it is there as long."""

    picture = Picture(WINDOW, AUTHORS_FPS, is_still=True)

    def __init__(self, path: Path | str):
        path = check_file(path)
        with _reading(f"{path.name} cannot be read as an image"), Image.open(path, formats=IMAGE_FORMATS) as image:
            _check(path, {"number of pixels": image.width * image.height})
            self._image = np.array(ImageOps.exif_transpose(image).convert("RGB"))

    def frames(self, times: np.ndarray, bt601: bool = False) -> Iterator[np.ndarray]:
        yield from [self._image] * len(times)


def _packets_to_decode(packets: list[tuple], chosen: set[int]) -> list[bool]:
    """Which packets of a file have to be decoded (True) for the frames with the chosen time stamps.

    From each key frame up to the last chosen one before the next key frame; and up to that key frame where chosen
    frames that come after it are shown before it, since these may be made from frames on both sides.

    packets : (time stamp, True = a key frame, ...) in the order of the file
    """
    needed, is_needed, first = [], False, inf  # first : the earliest chosen frame since the key frame, in the file
    for stamp, is_key, *_ in reversed(packets):
        if stamp in chosen:
            is_needed, first = True, min(first, stamp)
        needed.append(is_needed or stamp is None)  # None: the packet that ends the decoding
        if is_key:
            is_needed, first = first < (stamp or 0), inf
    return needed[::-1]


def _to_rgb(frame: av.VideoFrame, bt601: bool) -> np.ndarray:
    """(H, W, 3) uint8, upright: turned by quarters and mirrored as the file says."""
    picture = frame.to_ndarray(format="rgb24", src_colorspace=Colorspace.ITU601 if bt601 else None)
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    (a, b, _), (c, d, _), _ = np.frombuffer(matrix, np.int32).reshape(3, 3)  # (x, y) goes to (ax + cy, bx + dy)
    across, down = a, d
    if abs(int(b)) > abs(int(a)):
        picture, across, down = picture.swapaxes(0, 1), c, b
    return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _main_track(path: Path, streams: Sequence[av.stream.Stream], content: str):
    """The track that players choose: the default one, the one with the largest frames, the first."""
    streams = [stream for stream in streams if not stream.disposition & STILLS]
    if not streams:
        raise InputError(f"{path.name} has no {content} track")

    def rank(stream: av.stream.Stream) -> tuple[bool, int]:
        return bool(stream.disposition & DEFAULT), stream.width * stream.height if stream.type == "video" else 0

    main = max(streams, key=rank)
    main.thread_type = "NONE"
    return main


def _zero(container: av.container.InputContainer) -> float:
    """The time stamp of second 0, in seconds. Stamps below 0 are of what a decoder drops."""
    return max(container.start_time or 0, 0) / av.time_base


def _is_torn(path: Path) -> bool:
    """Whether a film lacks bytes at its end: fewer than the header of an avi or mkv, the boxes of an mp4 say."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] == b"RIFF":
            return size < 8 + int.from_bytes(head[4:8], "little")
        if head[:3] == b"FLV":  # each tag is followed by its length
            file.seek(-4, os.SEEK_END)
            tag = int.from_bytes(file.read(4)) + 4
            file.seek(-min(tag, size), os.SEEK_END)
            return int.from_bytes(file.read(4)[1:]) + 15 != tag
        if head[:4] == bytes.fromhex("1a45dfa3"):  # mkv and webm: a header, and a segment with the rest
            length, at = _ebml_length(head, 4)
            length, at = _ebml_length(head, at + length + 4)
            return size < at + length
        end = 0 if head[4:8].isalnum() else size
        while end < size:  # mp4 and mov: boxes, each with its length
            file.seek(end)
            box = file.read(16)
            length = int.from_bytes(box[8:] if box[:4] == bytes.fromhex("00000001") else box[:4])
            end = end + length if length >= 8 else size
        return end > size


def _ebml_length(content: bytes, at: int) -> tuple[int, int]:
    """A length as Matroska writes it, and where it ends; 0 = not known, as in what was streamed."""
    count = 9 - content[at].bit_length()
    most = (1 << 7 * count) - 1
    length = int.from_bytes(content[at : at + count]) & most
    return length if length < most else 0, at + count


def _open(path: Path):
    """The opened container of a film or a sound. Raises InputError for all others.

    FFmpeg also shows a text as a film of its letters, a photograph as one frame, a list as the files that it names.
    """
    with _reading(f"{path.name} cannot be opened as video, it may be cut short"):
        name = os.path.abspath(path)  # FFmpeg takes what stands before a colon for a protocol
        container = av.open(name, metadata_errors="replace")  # a title in Latin-1 is no reason to lose the film
    kind = container.format.name
    content = "text" if kind == "tty" else "a still picture" if kind == "image2" or kind.endswith("_pipe") else ""
    content = content if LISTS.isdisjoint(kind.split(",")) else "a list of other files"
    if content:
        container.close()
        raise InputError(f"{path.name} is {content}, where a film or a sound is expected")
    return container


def check_file(path: Path | str) -> Path:
    """The path of a file, or of the text that `path_text` makes of it. Raises InputError where it is none, or empty."""
    path = path_of(path)
    with _reading(f"{path.name} cannot be read"):
        status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path.name} is not a file but a folder, a pipe or a device")
    if status.st_size == 0:
        raise InputError(f"{path.name} is empty (0 bytes)")
    return path


def _check_sound(path: Path, rate: int, samples: int, channels: int) -> None:
    seconds = samples / max(rate, 1)
    _check(path, {"sample rate": rate, "number of samples": samples * channels, "length in seconds": seconds})


def _check(path: Path, header: dict[str, float]) -> None:
    """Raises InputError where a value of a header is beyond its limits; header : name of LIMITS -> value."""
    for name, value in header.items():
        least, most = LIMITS[name]
        if not least <= value <= most:
            raise InputError(
                f"{path.name} says that its {name} is {value:,.9g}: {least:,.9g} to {most:,.9g} can be read"
            )


@contextmanager
def _reading(failure: str) -> Iterator[None]:
    """A block that reads a file. Raises InputError with `failure` and the library's reason in place of its errors."""
    try:
        yield
    except (av.FFmpegError, soundfile.SoundFileError, EOFError, OSError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
        raise InputError(f"{failure}: {reason.strip().rstrip('.')}") from error
