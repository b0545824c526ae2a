"""RAVDESS from its official record on Zenodo: each archive is downloaded, checked and unpacked once.

Archives stay in `archives/` of the corpus' folder; they may be deleted once they are unpacked.
"""

import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pooch
import requests

from workbook import InputError
from workbook.data.ravdess import FIELDS, SUFFIXES, parse_name
from workbook.files import atomic_write, folder_lock, writing

DOI = "10.5281/zenodo.1188976"  # Livingstone & Russo (2018), CC BY-NC-SA 4.0
SOUND = "Audio_Speech_Actors_01-24.zip"  # of all actors: modality 03
PICTURES = "Video_Speech_Actor_{:02d}.zip"  # of one actor: modality 01, sound and picture, and 02, picture alone
ACTORS = range(1, FIELDS["actor"] + 1)
CLIPS = 60  # of an actor in each modality

TIMEOUT = 30  # seconds without an answer
RETRIES = 2  # after a broken connection or a wrong checksum
BLOCK = 2**20  # bytes read at once


def parse_actors(text: str) -> list[int]:
    """The actors in a text such as `1-3,7`, ascending. Raises InputError for other texts, and for actors above 24."""
    actors = set()
    for piece in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,2})\s*(?:-\s*([0-9]{1,2})\s*)?", piece)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not ACTORS[0] <= first <= last <= ACTORS[-1]:
            raise InputError(f"actors is '{text}'; it must be numbers from 1 to 24 and ranges of them, such as 1-3,7")
        actors |= {*range(first, last + 1)}
    return sorted(actors)


def download_ravdess(folder: Path | str, actors: Iterable[int] = ACTORS, pictures: bool = True) -> Path:
    """The folder with the speech of these actors, sound and picture, as `find_trials` reads it.

    pictures : False fetches the sound alone, one archive of 200 MB

    Complete archives and clips are not downloaded or unpacked again. A killed call leaves no torn archive or clip; the
    next call continues with the archive that was interrupted.

    Raises InputError without a connection, for a wrong checksum, and for a folder that cannot be written.
    """
    folder, actors = Path(folder).expanduser().resolve(), sorted(actors)
    with writing(folder), folder_lock(folder):
        silent = [actor for actor in actors if not _is_unpacked(folder, actor, ["03"])]
        archives = {SOUND: silent} if silent else {}
        if pictures:
            unseen = [actor for actor in actors if not _is_unpacked(folder, actor, ["01", "02"])]
            archives |= {PICTURES.format(actor): [actor] for actor in unseen}
        for leftover in (folder / "archives").glob("tmp*"):  # of a killed call
            leftover.unlink()
        for name, path in _fetch(archives, folder / "archives"):
            _unpack(path, folder, archives[name])
    return folder


def _is_unpacked(folder: Path, actor: int, modalities: list[str]) -> bool:
    """Whether the folder has all clips of an actor in these modalities."""
    names = {path.name for path in (folder / f"Actor_{actor:02}").glob("0*")}
    return all(sum(name.startswith(f"{modality}-01-") for name in names) >= CLIPS for modality in modalities)


def _fetch(names: Iterable[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of each archive, which is downloaded unless a file with the right checksum is there."""
    record = pooch.create(folder, f"doi:{DOI}/", retry_if_failed=RETRIES)
    downloader = pooch.DOIDownloader(progressbar=True, chunk_size=BLOCK, timeout=TIMEOUT)
    for name in names:
        try:
            if not record.registry:
                record.load_registry_from_doi()
            path = Path(record.fetch(name, downloader=downloader))
        except (requests.RequestException, KeyError) as error:  # KeyError: Zenodo's answer is an error
            answer = getattr(error, "response", None)
            reason = "no connection" if answer is None else f"{answer.url} answers {answer.status_code} {answer.reason}"
            raise InputError(
                f"{name} cannot be downloaded from https://doi.org/{DOI}: {reason}; the same command continues later"
            ) from error
        except ValueError as error:  # pooch's, for a wrong checksum
            raise InputError(str(error)) from None
        yield name, path


def _unpack(path: Path, folder: Path, actors: list[int]) -> None:
    """Unpacks the missing clips of these actors into `Actor_XX/`, whatever folders the archive names.

    `pooch.Unzip` is not used: killed, it leaves half a clip under the clip's name.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = PurePosixPath(member.filename)
            clip = folder / f"Actor_{_actor(name):02}" / name.name
            is_complete = clip.is_file() and clip.stat().st_size == member.file_size
            if _actor(name) in actors and not is_complete:
                with atomic_write(clip) as temporary, archive.open(member) as packed, open(temporary, "wb") as file:
                    shutil.copyfileobj(packed, file, BLOCK)


def _actor(path: PurePosixPath) -> int:
    """The actor of a clip, by its name; 0 for another file."""
    try:
        return parse_name(path.stem)["actor"] if path.suffix.lower() in SUFFIXES else 0
    except InputError:
        return 0
