"""A clip of a phone's size, 3840 x 2160 (a real clip, enlarged): seconds and memory on both sides."""

import tempfile
from pathlib import Path

import av

from benchmarks.peer import Peer
from benchmarks.preprocess import SETTINGS, find_videos
from benchmarks.timing import in_turn
from workbook.data.prepare import prepare_clip

WIDTH, HEIGHT = 3840, 2160


def measure(options) -> dict:
    """One clip in this process on each side."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = enlarge(find_videos(options.data_root)[0], folder / "phone.mp4")
        trial = {"clip": "phone", "audio_path": "", "video_path": str(video)}
        runs = {"avlib": lambda: prepare_clip(trial, **SETTINGS)}
        if options.peer:
            peer = Peer(options.peer)
            runs["original"] = lambda: peer.extract_faces([video], folder)
        result = in_turn(runs, options.rounds, 1)
    return result | {"settings": SETTINGS | {"width": WIDTH, "height": HEIGHT}}


def enlarge(source: Path, target: Path) -> Path:
    """The picture of a video at 3840 x 2160, written to `target`."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream("libx264", rate=old.streams.video[0].average_rate, options={"preset": "superfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in old.decode(video=0):
            new.mux(stream.encode(frame.reformat(WIDTH, HEIGHT, "yuv420p")))
        new.mux(stream.encode())
    return target
