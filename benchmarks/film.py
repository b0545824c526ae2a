"""An answer to a minute of film, by a network of full size with fresh weights: what it costs does not depend on them.

The film is the first real clip below `--data-root`, over and over.
"""

import tempfile
from pathlib import Path

import av
import numpy as np

from avlib import build_model
from benchmarks.preprocess import find_videos
from benchmarks.timing import in_turn
from workbook.data.media import read_audio
from workbook.data.ravdess import EMOTIONS
from workbook.data.window import SAMPLE_RATE
from workbook.predict.prediction import ModelCard, Predictor

SECONDS = 60


def measure(options) -> dict:
    """Seconds from the file to the probabilities, faces included."""
    size = options.image_size or 224
    settings = {"frames": options.frames, "image_size": size, "protocol": "paper", "audio_features": "mfcc"}
    card = ModelCard("RAVDESS", False, tuple(EMOTIONS))
    predictor = Predictor(build_model("ia", 1, len(EMOTIONS), size).eval(), card, settings)
    with tempfile.TemporaryDirectory() as name:
        film = repeat(find_videos(options.data_root)[0], Path(name) / "film.mp4")
        result = in_turn({"a minute of film": lambda: predictor(film)}, options.rounds, 1)
    del result["ratio"]  # nothing is compared
    return result | {"settings": settings}


def repeat(source: Path, target: Path) -> Path:
    """A film of SECONDS with the picture and the sound of a video, over and over."""
    samples = np.resize(read_audio(source), SECONDS * SAMPLE_RATE)
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        frames, rate = list(old.decode(video=0)), old.streams.video[0].average_rate
        picture = new.add_stream("libx264", rate=rate, options={"preset": "superfast"})
        picture.width, picture.height, picture.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        sound = new.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for number in range(int(SECONDS * rate)):
            frame = frames[number % len(frames)].reformat(format="yuv420p")
            frame.pts, frame.time_base = number, 1 / rate
            new.mux(picture.encode(frame))
        part = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        part.sample_rate = SAMPLE_RATE
        for stream, last in ((sound, part), (sound, None), (picture, None)):
            new.mux(stream.encode(last))
    return target
