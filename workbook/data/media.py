"""The picture and the sound of a clip's files: the one place that knows their clocks, tracks and turns.

All times are seconds from the beginning of a file's picture, or of its sound. The two are taken to begin together: an
offset between tracks, or a gap in the sound, would be read in `_read_track` and `Video._seconds`.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import soundfile
from av.video.reformatter import Colorspace

from workbook import InputError
from workbook.data.window import AUTHORS_FPS, SAMPLE_RATE, WINDOW, Picture
from workbook.files import path_of

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".aif", ".aiff", ".au")  # read by libsndfile; all else by FFmpeg
SILENCE = 1e-4  # a peak below this, -80 dBFS, is no sound
COVER = av.stream.Disposition.attached_pic  # of a picture that a sound brings with it
LIMITS = {  # least and most that a header may say: beyond, a few bytes would ask for gigabytes
    "sample rate": (1e3, 1e6),  # hertz
    "number of samples": (0, 2**28),  # 1 GB: 46 minutes of stereo at 48 kHz in a wav, 93 in a film
    "frame rate": (0.01, 1e4),  # frames per second
    "number of pixels": (1, 2**25),  # of a frame: 8K television has 7680 x 4320
    "length in seconds": (0, 3 * 3600),
}


def read_audio(path: Path | str) -> np.ndarray:
    """A file's sound as mono float32 in [-1, 1] at 22.05 kHz, (samples,): what `librosa.load(path, sr=22050)` gives.

    Reads wav, flac and the like, and the sound track of any film or sound that FFmpeg knows. Channels are averaged. A
    sound track keeps the delay of its encoder where the file does not declare it: in RAVDESS it is 33 ms late. Raises
    InputError where there is no sound to read.
    """
    path = check_file(path)
    samples, rate = _read_soundfile(path) if path.suffix.lower() in SOUNDS else _read_track(path)
    if not samples.size:
        raise InputError(f"{path.name} holds no sound: its sound track has no samples")
    if not np.isfinite(samples).all():
        raise InputError(f"{path.name} holds samples that are not numbers")
    import librosa  # heavy: a second, and only needed here

    return librosa.resample(samples.mean(axis=0), orig_sr=rate, target_sr=SAMPLE_RATE)


def is_silent(samples: np.ndarray) -> bool:
    """Whether a sound never rises above -80 dBFS."""
    return not samples.size or float(np.abs(samples).max()) < SILENCE


def _read_soundfile(path: Path) -> tuple[np.ndarray, int]:
    """The samples (channels, n) and their rate of a wav or flac file."""
    failure = f"{path.name} cannot be read as {path.suffix[1:]} sound"
    with _reading(failure), soundfile.SoundFile(os.fsencode(path)) as file:
        _check_sound(path, file.samplerate, file.frames, file.channels)
        return file.read(dtype="float32", always_2d=True).T, file.samplerate


def _read_track(path: Path) -> tuple[np.ndarray, int]:
    """The samples (1, n), the mean of all channels, and their rate of a film's first sound track."""
    with _open(path) as container:
        if not container.streams.audio:
            raise InputError(f"{path.name} has no sound track")
        stream = container.streams.audio[0]
        stream.thread_type = "NONE"
        to_float = av.AudioResampler(format="fltp")
        blocks, count = [np.zeros((1, 0), np.float32)], 0
        with _reading(f"the sound track of {path.name} cannot be decoded"):
            for frame in container.decode(stream):
                blocks += [block.to_ndarray().mean(axis=0, keepdims=True) for block in to_float.resample(frame)]
                count += frame.samples
                _check_sound(path, frame.sample_rate, count, channels=1)
        return np.concatenate(blocks, axis=1), stream.rate


def probe(path: Path | str) -> Picture:
    """The length and the frame rate of a film's picture. Raises InputError as `open_video` does."""
    with open_video(path) as video:
        return video.picture


def read_frames(path: Path | str, times: np.ndarray, bt601: bool = False) -> np.ndarray:
    """The frames of a film nearest to `times`, (n, H, W, 3) uint8 RGB, as `Video.frames` gives them one by one.

    (0, 0, 0, 3) where there is none. Raises InputError as `open_video` and `Video.frames` do.
    """
    with open_video(path) as video:
        frames = list(video.frames(times, bt601))
    return np.stack(frames) if frames else np.zeros((0, 0, 0, 3), np.uint8)


def open_video(path: Path | str) -> "Video | CroppedFaces":
    """The picture of a clip: of a film, or of one of the authors' `*_facecroppad.npy` in its place.

    Raises InputError where the file cannot be opened or has no picture.
    """
    return CroppedFaces(path) if Path(path).suffix == ".npy" else Video(path)


class Video:
    """The picture of a film, which stays open until the end of a `with`.

    picture : its length and frame rate, read from the header
    cropped : False; the frames show more than a face
    """

    cropped = False

    def __init__(self, path: Path | str):
        self.path = check_file(path)
        self._container = _open(self.path)
        try:
            self._stream = self._picture_stream()
            self.picture = self._read_header()
        except InputError:
            self._container.close()
            raise
        # A frame that no other is made from: only H.264 says so in a way that every encoder agrees on.
        self._needless = "NONREF" if self._stream.codec_context.name == "h264" else "DEFAULT"

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *exception) -> None:
        self._container.close()

    def frames(self, times: np.ndarray, bt601: bool = False) -> Iterator[np.ndarray]:
        """The frames nearest to some times, one after the other, each (H, W, 3) uint8 RGB.

        Only these frames and those that they are made from are decoded, on one thread: clips are read side by side.

        times : ascending, in seconds. Times past the end of the picture have no frame.
        bt601 : reads the colours as BT.601 whatever the file says, as the authors' OpenCV does. RAVDESS is BT.709: its
                faces come out redder then, and the detector's boxes differ by a few pixels.

        Raises InputError where the file cannot be decoded or ends before the length in its header.
        """
        times = _until_end(times, self.picture)
        if not len(times):
            return
        stamps, needed = self._choose(times)
        for frame in self._decode(set(stamps), needed):
            for _ in range(stamps.count(frame.pts)):
                yield _to_rgb(frame, bt601)

    def _picture_stream(self):
        streams = [stream for stream in self._container.streams.video if not stream.disposition & COVER]
        if not streams:
            raise InputError(f"{self.path.name} has no picture track")
        stream = streams[0]
        stream.thread_type = "NONE"
        _check(self.path, {"number of pixels": stream.codec_context.width * stream.codec_context.height})
        return stream

    def _read_header(self) -> Picture:
        stream, length = self._stream, self._container.duration
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        is_known = stream.duration is not None
        seconds = float(stream.duration * stream.time_base) if is_known else (length or 0) / av.time_base
        if rate <= 0 or seconds <= 0:
            raise InputError(f"{self.path.name} does not say how long its picture is")
        _check(self.path, {"length in seconds": seconds, "frame rate": rate})
        return Picture(seconds, rate)

    def _seconds(self, stamps: np.ndarray) -> np.ndarray:
        """The times of the frames with these time stamps."""
        return (stamps - (self._stream.start_time or 0)) * float(self._stream.time_base)

    def _choose(self, times: np.ndarray) -> tuple[list[int], np.ndarray]:
        """The time stamps of the frames nearest to `times`, one for each; which packets (True) to decode for them."""
        packets = [(packet.pts, packet.is_keyframe, packet.is_discard) for packet in self._packets()]
        visible = [stamp for stamp, _, is_discarded in packets if stamp is not None and not is_discarded]
        if not visible:
            raise InputError(f"the picture of {self.path.name} has no frame that can be decoded")
        opening = visible[0]  # frames before the first key frame cannot be decoded
        stamps = np.array(sorted(stamp for stamp in visible if stamp >= opening))
        seconds, promised, frame = self._seconds(stamps), self.picture.seconds, 1 / self.picture.frame_rate
        if seconds[-1] < promised - 3 * frame:
            end = seconds[-1] + frame
            raise InputError(f"{self.path.name} is cut short: its picture ends at {end:.2f} s of {promised:.2f} s")
        later = np.minimum(np.searchsorted(seconds, times), len(stamps) - 1)
        earlier = np.maximum(later - 1, 0)
        nearest = stamps[np.where(seconds[later] - times <= times - seconds[earlier], later, earlier)].tolist()
        return nearest, _packets_to_decode(
            [stamp for stamp, *_ in packets], [is_key for _, is_key, _ in packets], set(nearest)
        )

    def _decode(self, stamps: set[int], needed: np.ndarray) -> Iterator[av.VideoFrame]:
        """The frames with these time stamps, in order; needed : True = a packet to decode.

        Frames of these packets that are neither asked for nor needed by others are left out as well.
        """
        for packet, is_needed in zip(self._packets(), needed, strict=True):
            if not is_needed:
                continue
            self._stream.codec_context.skip_frame = "DEFAULT" if packet.pts in stamps else self._needless
            with _reading(f"the picture of {self.path.name} cannot be decoded"):
                frames = packet.decode()
            for frame in frames:
                if frame.pts in stamps:
                    stamps.remove(frame.pts)
                    _check(self.path, {"number of pixels": frame.width * frame.height})
                    yield frame
            if not stamps:
                return
        raise InputError(f"the picture of {self.path.name} cannot be decoded: {len(stamps)} of its frames are damaged")

    def _packets(self) -> Iterator[av.Packet]:
        """The compressed frames in the order of the file; the last packet is empty and ends the decoding."""
        with _reading(f"the picture of {self.path.name} cannot be read"):
            self._container.seek(0)
            yield from self._container.demux(self._stream)


class CroppedFaces:
    """The faces that the authors' extract_faces.py has left of a film, (15, 224, 224, 3) uint8 BGR, in its place.

    They stand for the part of 3.6 s, at 30 frames per second, that precedes their padding with zeros; each face for its
    share of the 3.6 s.

    picture, frames(times) : as of `Video`
    cropped : True; each frame is a face from edge to edge
    """

    cropped = True

    def __init__(self, path: Path | str):
        self.path = check_file(path)
        self._faces = _read_cropped(self.path)
        self._count = int(np.flatnonzero(self._faces.any(axis=(1, 2, 3))).max()) + 1  # without the padding
        self.picture = Picture(WINDOW * self._count / len(self._faces), AUTHORS_FPS)

    def __enter__(self) -> "CroppedFaces":
        return self

    def __exit__(self, *exception) -> None:
        pass

    def frames(self, times: np.ndarray, bt601: bool = False) -> Iterator[np.ndarray]:
        """The faces at some seconds, one after the other, each (224, 224, 3) uint8 RGB; `bt601` changes nothing."""
        shares = _until_end(times, self.picture) / WINDOW * len(self._faces)
        yield from self._faces[np.minimum(shares.astype(int), self._count - 1), ..., ::-1]  # BGR to RGB


def _packets_to_decode(stamps: list[int | None], is_key: list[bool], chosen: set[int]) -> np.ndarray:
    """Which packets of a file have to be decoded (True) for the frames with the chosen time stamps.

    From each key frame up to the last chosen one before the next key frame; and up to that key frame where chosen
    frames that come after it are shown before it, since these may be made from frames on both sides.
    """
    needed = np.array([stamp is None for stamp in stamps])  # the packet that ends the decoding
    keys = [i for i, key in enumerate(is_key) if key] or [0]
    is_crossed = False
    for begin, end in reversed(list(zip(keys, [*keys[1:], len(stamps)], strict=True))):
        last = max((i + 1 for i in range(begin, end) if stamps[i] in chosen), default=begin)
        needed[begin : end if is_crossed else last] = True
        is_crossed = any(stamps[i] in chosen and stamps[i] < stamps[begin] for i in range(begin, last))
    return needed


def _until_end(times: np.ndarray, picture: Picture) -> np.ndarray:
    """The times at which there is a picture."""
    times = np.asarray(times, float)
    return times[times <= picture.seconds]


def _to_rgb(frame: av.VideoFrame, bt601: bool) -> np.ndarray:
    """(H, W, 3) uint8, upright: turned as the file says, in quarters of a circle."""
    picture = frame.to_ndarray(format="rgb24", src_colorspace=Colorspace.ITU601 if bt601 else None)
    quarters = round(frame.rotation / 90) % 4  # counterclockwise
    return np.ascontiguousarray(np.rot90(picture, quarters)) if quarters else picture


def _read_cropped(path: Path) -> np.ndarray:
    """The array of one of the authors' `*_facecroppad.npy`."""
    try:
        faces = np.load(path, allow_pickle=False, mmap_mode="r")  # takes no memory for what a header promises
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path.name} cannot be read as an array of faces: {error}") from error
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[-1] != 3 or not faces.any():
        raise InputError(
            f"{path.name} holds {faces.dtype} of shape {faces.shape} where faces are expected: "
            "uint8 of shape (15, 224, 224, 3), not all zero"
        )
    return np.array(faces)


def _open(path: Path):
    """The opened container of a film or a sound. Raises InputError instead of FFmpeg's errors, and for text and stills.

    FFmpeg shows a text as a film of its letters, and a photograph as one of a single frame.
    """
    with _reading(f"{path.name} cannot be opened as video, it may be cut short"):
        container = av.open(str(path), metadata_errors="replace")  # a title in Latin-1 is no reason to lose the film
    kind = container.format.name
    if kind in ("tty", "image2") or kind.endswith("_pipe"):
        container.close()
        content = "text" if kind == "tty" else "a still picture"
        raise InputError(f"{path.name} is {content}, where a film or a sound is expected")
    return container


def check_file(path: Path | str) -> Path:
    """The path of a file that can be opened at once. Raises InputError where it is none, or empty.

    path : also as the text that `workbook.files.path_text` makes of it
    """
    path = path_of(path)
    with _reading(f"{path.name} cannot be read"):
        status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path.name} is not a file but a folder, a pipe or a device")
    if status.st_size == 0:
        raise InputError(f"{path.name} is empty (0 bytes)")
    return path


def _check_sound(path: Path, rate: int, samples: int, channels: int) -> None:
    """Raises InputError where a sound has a rate, a length or a size that no clip has."""
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
