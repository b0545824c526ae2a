"""Damaged files by the thousand: each ends as what it was, or as a sentence; `make fuzz` runs this.

A mutant is made of a good file, its kind, a seed and a number, so that any of them can be made again. Each is read in a
process of its own that may crash, hang or take memory, and is then named.
"""

import argparse
import os
import pickle
import shutil
import sys
import tempfile
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import soundfile
from data.test_clocks import mux, picture_packets, sound_packets
from data.test_media import tone, write_video
from data.test_pickles import mmsa, mult
from pebble import ProcessExpired, ProcessPool

from workbook import InputError
from workbook.data.window import SAMPLE_RATE
from workbook.toy import corpus as toy

SECONDS = 60  # for one file
MEMORY = 3 * 2**30  # bytes beyond which a process that reads a file of some kilobytes has gone astray
EXTREMES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\1"]


def mutant(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one wound or a few: bytes changed, numbers made extreme, parts cut, doubled or moved."""
    wounded = bytearray(content)
    for _ in range(rng.geometric(0.5)):
        # Half of the wounds are in the first kilobyte, where headers are.
        reach = min(len(wounded), 1024) if rng.random() < 0.5 else len(wounded)
        place, length = int(rng.integers(max(reach, 1))), int(rng.integers(1, 65))
        match rng.integers(6):
            case 0:
                wounded[place : place + 1] = rng.bytes(1)
            case 1:
                wounded[place : place + 4] = EXTREMES[rng.integers(len(EXTREMES))]
            case 2:
                del wounded[place : place + length]
            case 3:
                wounded[place:place] = wounded[place : place + length]
            case 4:
                wounded[place : place + length] = rng.bytes(length)
            case 5 if rng.random() < 0.2:
                del wounded[max(place, 1) :]
    return bytes(wounded)


def read_clip(path: Path) -> bool:
    from workbook.data.prepare import prepare_clip

    is_sound = path.suffix in (".wav", ".flac")
    video_path, audio_path = "" if is_sound else str(path), "" if path.suffix == ".npy" else str(path)
    prepared = prepare_clip({"clip": "a", "video_path": video_path, "audio_path": audio_path}, 4, 32, "paper")
    assert prepared.audio is None or np.isfinite(prepared.audio).all(), "features are not finite"
    lost = len(prepared.problems)
    assert lost or prepared.audio is not None or prepared.video is not None, "lost without a word"
    return not lost


def read_features(path: Path) -> bool:
    from workbook.data.features import read_npz, write_features
    from workbook.data.pickles import read_pickle

    features = read_pickle(path) if path.suffix == ".pkl" else read_npz(path)
    assert not np.isinf(features.audio).any() and not np.isinf(features.video).any(), "features are infinite"
    write_features(path.with_suffix(".store"), features, path)
    return True


def read_store(path: Path) -> bool:
    """path : one damaged file of a store; the others lie in the folder beside it."""
    from workbook.data.store import Store

    folder = shutil.copytree(path.parent / "whole", path.with_suffix(".store"))
    shutil.copy(path, folder / path.name.split("-", 1)[1])
    store = Store.open(folder)
    assert store.video.nbytes and store.audio.nbytes and store.fingerprint
    return True


def attempt(read, path: Path, content: bytes) -> str:
    """The outcome of reading a file: read, a sentence, or what else."""
    path.write_bytes(content)
    try:
        outcome = "read" if read(path) else "a sentence"
    except InputError as error:
        outcome = "a sentence" if "\n" not in str(error) else f"lines: {error}"
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(path.with_suffix(".store"), ignore_errors=True)
        path.unlink()
    memory = psutil.Process().memory_info().rss
    return outcome if memory < MEMORY else f"{memory / 2**30:.1f} GB of memory"


def good_files(folder: Path) -> dict[str, tuple]:
    """By kind: a good file, and how it is read."""
    film = toy.plan_clip(0, 3, "happy", 0)
    write_video(folder / "a.mp4", film.frames()[:20], tone(440, 1.3), fps=toy.FPS)
    frames = list(film.frames()[:20])
    for suffix, codec, sound in (("mkv", "libx264", "aac"), ("flv", "flv", "libmp3lame")):
        mux(
            folder / f"a.{suffix}",
            lambda container: picture_packets(container, frames, np.arange(20) / toy.FPS, toy.FPS, codec),  # noqa: B023
            lambda container: sound_packets(container, tone(440, 1.3), SAMPLE_RATE, sound),  # noqa: B023
        )
    for suffix, subtype in (("wav", "FLOAT"), ("flac", "PCM_16")):
        soundfile.write(folder / f"a.{suffix}", tone(440, 1), SAMPLE_RATE, subtype=subtype)
    np.save(folder / "a.npy", np.random.default_rng(0).integers(1, 255, (4, 16, 16, 3), np.uint8))
    (folder / "mult.pkl").write_bytes(pickle.dumps(mult(), protocol=2))
    (folder / "mmsa.pkl").write_bytes(pickle.dumps(mmsa(), protocol=4))
    arrays = {"audio": np.ones((7, 3, 5)), "video": np.ones((7, 2, 11))}
    np.savez(folder / "a.npz", **arrays, label=np.arange(7) % 3, group=np.arange(7))
    from workbook.data.features import read_npz, write_features

    write_features(folder / "whole", read_npz(folder / "a.npz"), folder / "a.npz")
    files = {name: (folder / name, read_clip) for name in ("a.mp4", "a.mkv", "a.flv", "a.wav", "a.flac", "a.npy")}
    files |= {name: (folder / name, read_features) for name in ("mult.pkl", "mmsa.pkl", "a.npz")}
    return files | {f"store-{file.name}": (file, read_store) for file in sorted((folder / "whole").iterdir())}


def fuzz(kind: str, source: Path, read, seed: int, count: int, folder: Path) -> Counter:
    """How often each outcome was met; everything but `read` and `a sentence` is written at once."""
    outcomes, content = Counter(), source.read_bytes()
    intact = attempt(read, folder / f"0-{source.name}", content)
    assert intact == "read", f"{kind} is not read even when it is intact: {intact}"
    with ProcessPool(1, context=get_context("spawn")) as pool:
        for number in range(count):
            wounded = mutant(content, np.random.default_rng([seed, *kind.encode(), number]))
            try:
                arguments = [read, folder / f"{number}-{source.name}", wounded]
                outcome = pool.schedule(attempt, arguments, timeout=SECONDS).result()
            except (ProcessExpired, TimeoutError) as error:
                outcome = f"the process ended or hung: {type(error).__name__}"
            if outcome not in ("read", "a sentence"):
                sys.stdout.write(f"{kind}, seed {seed}, number {number}: {outcome}\n")
                outcome = "else"
            outcomes[outcome] += 1
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200, help="mutants of each file")
    options = parser.parse_args()
    total = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for kind, (source, read) in good_files(Path(folder)).items():
            outcomes = fuzz(kind, source, read, options.seed, options.count, Path(folder))
            total += outcomes
            sys.stdout.write(f"{kind}: {dict(outcomes)}\n")
            sys.stdout.flush()
    sys.stdout.write(f"all: {dict(total)}\n")
    sys.exit(bool(total["else"]))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
