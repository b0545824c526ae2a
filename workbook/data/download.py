"""RAVDESS from its official record: downloads, checks and unpacks each archive once (Livingstone & Russo, 2018).

The record lists name, size, checksum and address of every archive. Archives stay in `archives/` of the corpus' folder.
They may be deleted after unpacking: `archives/unpacked.json` lists their files.
"""

import json
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pooch
import requests
from tqdm import tqdm

from workbook import InputError
from workbook.data.ravdess import FIELDS, SUFFIXES, parse_name
from workbook.files import as_bytes, atomic_write, folder_lock

RECORD = "https://zenodo.org/api/records/1188976"
SOUND = "Audio_Speech_Actors_01-24.zip"  # of all actors
PICTURES = "Video_Speech_Actor_{:02d}.zip"  # of one
ACTORS = range(1, FIELDS["actor"] + 1)

TIMEOUT = 30  # seconds without an answer
RETRIES = 2  # after a broken connection or a wrong checksum
BLOCK = 2**20  # bytes read at once

Echo = Callable[[str], None]


@dataclass(frozen=True)
class Archive:
    """One file of the record."""

    name: str
    size: int  # bytes
    checksum: str  # with its kind: md5:...
    url: str


def parse_actors(text: str) -> list[int]:
    """The actors in a text such as `1-3,7`, ascending. Raises InputError for other texts, and for actors above 24."""
    actors = set()
    for piece in text.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,2})\s*(?:-\s*([0-9]{1,2})\s*)?", piece)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not ACTORS[0] <= first <= last <= ACTORS[-1]:
            raise InputError(f"actors is '{text}'; it must be numbers from 1 to 24 and ranges of them, such as 1-3,7")
        actors |= {*range(first, last + 1)}
    return sorted(actors)


def download_ravdess(
    folder: Path | str,
    actors: Iterable[int] = ACTORS,
    record: str = RECORD,
    *,
    progress: bool = True,
    echo: Echo = lambda line: None,
) -> Path:
    """The folder with the speech of some actors, sound and picture, as `find_trials` reads it.

    Existing files are not downloaded or unpacked again. A killed call leaves no incomplete archive or clip, and the
    next call goes on where it stopped.

    record : address of the record's JSON in Zenodo's form        echo : gets lines on what is being done
    Raises InputError for problems with the server, an archive or the disk.
    """
    folder, actors = Path(folder).expanduser().resolve(), sorted(actors)
    wanted = {SOUND: actors} | {PICTURES.format(actor): [actor] for actor in actors}
    try:
        with folder_lock(folder / "archives" / "unpacked"):
            memory = _Memory(folder)
            missing = {name: those for name, those in wanted.items() if not memory.holds(name, those)}
            if missing:
                _complete(folder, missing, _archives(record, missing), memory, progress, echo)
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from error
    echo(f"{folder} holds the speech of {len(actors)} actors")
    return folder


def _complete(
    folder: Path, missing: dict[str, list[int]], archives: list[Archive], memory: "_Memory", progress: bool, echo: Echo
) -> None:
    """Downloads and unpacks the missing clips, one archive after the other."""
    for stray in (folder / "archives").glob("tmp*"):  # pooch's, of a call that was killed
        stray.unlink()
    size = sum(archive.size for archive in archives)
    unfetched = sum(archive.size for archive in archives if not (folder / "archives" / archive.name).exists())
    echo(f"RAVDESS (CC BY-NC-SA 4.0), {len(archives)} archives of {as_bytes(size)}, goes to {folder}")
    echo(f"to be fetched: {as_bytes(unfetched)}; unpacked, it takes about {as_bytes(size)} more")
    _refuse_full_disk(folder, unfetched + size)
    for archive in archives:
        path = _fetch(archive, folder / "archives", progress)
        memory.add(archive.name, _unpack(path, folder, missing[archive.name], progress))


def _archives(record: str, names: Iterable[str]) -> list[Archive]:
    """The record's entries for some of its files."""
    try:
        answer = requests.get(record, timeout=TIMEOUT)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise InputError(f"{record}, the record of RAVDESS, cannot be read: {_cause(error)}") from None
    try:
        listed = {
            file["key"]: Archive(file["key"], int(file["size"]), file["checksum"], file["links"]["self"])
            for file in json.loads(answer.text)["files"]
        }
        archives = [listed[name] for name in names]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{record} is not the record of RAVDESS as expected: it lacks {error}") from None
    for archive in archives:
        if not re.fullmatch("md5:[0-9a-f]{32}", str(archive.checksum)):  # without it pooch checks nothing
            raise InputError(f"{record} gives no md5 checksum of {archive.name}: nothing is fetched; try again later")
    return archives


def _fetch(archive: Archive, folder: Path, progress: bool) -> Path:
    """The path of an archive with the right checksum; downloaded unless it is there."""
    pooch.get_logger().setLevel("ERROR")  # the bar and our errors say it
    source = pooch.create(
        folder, "", registry={archive.name: archive.checksum}, urls={archive.name: archive.url}, retry_if_failed=RETRIES
    )
    with tqdm(desc=archive.name, total=archive.size, unit="B", unit_scale=True, disable=not progress) as bar:
        fetcher = pooch.HTTPDownloader(progressbar=bar, chunk_size=BLOCK, timeout=TIMEOUT)
        try:
            return Path(source.fetch(archive.name, downloader=fetcher))
        except requests.RequestException as error:
            reason = f"{_cause(error)}; the same command goes on where it stopped"
            raise InputError(f"{archive.url} cannot be fetched: {reason}") from None
        except ValueError:  # pooch raises it for a wrong checksum
            reason = f"its checksum is not the record's {archive.checksum}; the file is deleted"
            raise InputError(f"{archive.url} arrived damaged: {reason}") from None


def _unpack(path: Path, folder: Path, actors: Collection[int], progress: bool) -> dict[str, int]:
    """Unpacks the clips of some actors from an archive into a folder; returns path below it -> bytes.

    Raises InputError, before it writes anything, for an archive with a link or a path that leads out of the folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                _refuse_outside(member, path.name)
            members = [member for member in members if _actor(member.filename) in actors]
            lacking = sorted({*actors} - {_actor(member.filename) for member in members})
            if lacking:
                raise InputError(f"{path} holds no clip of actor {lacking[0]}")
            _refuse_full_disk(folder, sum(member.file_size for member in members))
            for member in tqdm(members, f"unpacking {path.name}", unit="clip", disable=not progress):
                with (
                    atomic_write(folder / member.filename) as temporary,
                    archive.open(member) as packed,
                    open(temporary, "wb") as file,
                ):
                    shutil.copyfileobj(packed, file, BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path} cannot be unpacked: {error}") from None
    return {member.filename: member.file_size for member in members}


def _refuse_outside(member: zipfile.ZipInfo, archive: str) -> None:
    """Raises InputError for a member that is a link or has a path that leads out of the folder."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in member.filename:
        raise InputError(f"{archive} holds '{member.filename}', which leads outside: nothing of it is unpacked")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"{archive} holds '{member.filename}', which is a link: nothing of it is unpacked")


def _actor(name: str) -> int | None:
    """The actor of a clip, by its name; None for another file."""
    path = PurePosixPath(name)
    try:
        return parse_name(path.stem)["actor"] if path.suffix.lower() in SUFFIXES else None
    except InputError:
        return None


class _Memory:
    """The files unpacked from each archive, noted in a file after each of them."""

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / "archives" / "unpacked.json"
        try:
            self.unpacked: dict[str, dict[str, int]] = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            self.unpacked = {}

    def holds(self, archive: str, actors: Collection[int]) -> bool:
        """Whether clips of all these actors were unpacked from an archive and are there in full size."""
        sizes = self.unpacked.get(archive, {})
        broken = {_actor(name) for name, size in sizes.items() if not _is_whole(self.folder / name, size)}
        return {*actors} <= {_actor(name) for name in sizes} - broken

    def add(self, archive: str, files: dict[str, int]) -> None:
        self.unpacked[archive] = self.unpacked.get(archive, {}) | files
        with atomic_write(self.path) as temporary:
            temporary.write_text(json.dumps(self.unpacked, indent=0))


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _refuse_full_disk(folder: Path, needed: int) -> None:
    """Raises InputError where the disk of a folder has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder} needs {as_bytes(needed)}, but its disk has {as_bytes(free)} free: give another folder"
        )


def _cause(error: requests.RequestException) -> str:
    """What went wrong with the connection, in a few words."""
    if error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"the server is silent for {TIMEOUT} s"
    return "there is no connection, or it broke"
