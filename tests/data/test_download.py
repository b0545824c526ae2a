"""Fetching RAVDESS, from a server on this machine that has a tiny record in Zenodo's form."""

import hashlib
import io
import json
import os
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pooch
import pytest
from click.testing import CliRunner

from workbook import InputError
from workbook.cli import main
from workbook.data import download
from workbook.data.download import PICTURES, SOUND, download_ravdess, parse_actors
from workbook.data.ravdess import find_trials
from workbook.files import folder_lock


def packed(*members):
    """The bytes of a zip: each member holds its own name over and over."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in members:
            archive.writestr(name, name * 997)
    return buffer.getvalue()


def clips(modality, actor, suffix):
    return [f"Actor_{actor:02d}/{modality}-01-{emotion:02d}-01-01-01-{actor:02d}.{suffix}" for emotion in (1, 3)]


class Server(ThreadingHTTPServer):
    """Serves `files` and the record of them. Requests are kept in `asked`; for files in `broken` half is sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.asked, self.broken, self.false = [], set(), set()
        sound = [name for actor in (1, 2, 3) for name in clips("03", actor, "wav")]
        self.files = {SOUND: packed("readme.txt", *sound, "__MACOSX/._03-01-01-01-01-01-01.wav")}
        for actor in (1, 2, 3):
            self.files[PICTURES.format(actor)] = packed(*clips("01", actor, "mp4"), *clips("02", actor, "mp4"))

    def listing(self):
        return [
            {
                "key": name,
                "checksum": f"md5:{'0' * 32 if name in self.false else hashlib.md5(content).hexdigest()}",
                "links": {"self": f"{self.address}/files/{name}/content"},
            }
            for name, content in self.files.items()
        ]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.split("/")[2] if self.path.startswith("/files/") else ""
        self.server.asked.append(name or "record")
        content = self.server.files.get(name) if name else json.dumps({"files": self.server.listing()}).encode()
        if content is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if name in self.server.broken else content)


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(download, "RETRIES", 0)
    monkeypatch.setattr(download, "CLIPS", 2)
    url = "https://zenodo.org/records/1188976"
    monkeypatch.setattr(pooch.downloaders, "doi_to_url", lambda doi, **options: url)
    monkeypatch.setattr(pooch.downloaders.ZenodoRepository, "base_api_url", server.address)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def content(folder):
    """The files below a folder, but for the locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def fetched(server):
    """The archives that were asked for since the last call."""
    names = [name for name in server.asked if name != "record"]
    server.asked.clear()
    return names


def test_all_clips_of_all_actors_arrive_as_they_were_packed_and_make_a_corpus(server, tmp_path):
    download_ravdess(tmp_path, [1, 2, 3])
    trials, problems = find_trials(tmp_path)
    assert problems.empty and len(trials) == 6 and (trials[["video_path", "audio_path"]] != "").all(axis=None)
    assert all(name.startswith("archives/") or data == name.encode() * 997 for name, data in content(tmp_path).items())
    assert fetched(server) == [SOUND, *(PICTURES.format(actor) for actor in (1, 2, 3))]


def test_a_second_call_downloads_nothing_even_without_the_archives(server, tmp_path):
    download_ravdess(tmp_path, [1, 2, 3])
    for archive in tmp_path.glob("archives/*.zip"):
        archive.unlink()
    before = content(tmp_path)
    server.asked.clear()
    download_ravdess(tmp_path, [1, 2, 3])
    assert not server.asked and content(tmp_path) == before


def test_a_call_that_has_waited_for_another_one_downloads_nothing_again(server, tmp_path, monkeypatch):
    @contextmanager
    def after_another(folder):
        monkeypatch.setattr(download, "folder_lock", folder_lock)
        download_ravdess(tmp_path, [1])
        server.asked.clear()
        yield

    monkeypatch.setattr(download, "folder_lock", after_another)
    download_ravdess(tmp_path, [1])
    assert not server.asked


def test_an_archive_with_another_checksum_is_refused_and_deleted(server, tmp_path):
    server.false = {PICTURES.format(1)}
    with pytest.raises(InputError, match=r"Actor_01.zip\) does not match the known hash.*Deleted") as refused:
        download_ravdess(tmp_path, [1])
    assert "\n" not in str(refused.value)
    assert set(content(tmp_path)) == {f"archives/{SOUND}", *clips("03", 1, "wav")}


def test_a_connection_that_breaks_is_one_sentence_and_the_next_call_continues(server, tmp_path):
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "tmp1a2b3c").write_bytes(b"half")  # of a killed call
    server.broken = {PICTURES.format(1)}
    with pytest.raises(InputError, match=r"Actor_01.zip cannot be .* no connection; the same command continues"):
        download_ravdess(tmp_path, [1])
    assert set(content(tmp_path)) == {f"archives/{SOUND}", *clips("03", 1, "wav")}
    server.broken.clear()
    server.asked.clear()
    download_ravdess(tmp_path, [1])
    assert fetched(server) == [PICTURES.format(1)] and (find_trials(tmp_path)[0]["video_path"] != "").all()


def test_no_member_of_an_archive_leaves_the_folder(server, tmp_path):
    name = "03-01-05-01-01-01-01.wav"
    outside = [f"../{name}", f"Actor_01/../../{name}", f"/tmp/{name}", f"..\\{name}", f"C:/{name}", "../evil.mp4"]
    server.files[SOUND] = packed(*clips("03", 1, "wav"), *outside)
    download_ravdess(tmp_path / "in" / "here", [1])
    assert all(path.startswith("in/here/") for path in content(tmp_path)) and not os.path.exists(f"/tmp/{name}")
    assert {path.parent.name for path in tmp_path.rglob("*.wav")} == {"Actor_01"}


def test_a_record_that_is_not_there_is_one_sentence(server, tmp_path, monkeypatch):
    del server.files[PICTURES.format(3)]
    with pytest.raises(InputError, match=r"Actor_03.zip' is not in the registry"):
        download_ravdess(tmp_path, [3])
    monkeypatch.setattr(pooch.downloaders.ZenodoRepository, "base_api_url", "http://127.0.0.1:1")
    with pytest.raises(InputError, match=r"cannot be downloaded from .*: no connection"):
        download_ravdess(tmp_path, [1])


@pytest.mark.parametrize(
    "text, actors", [("1-24", [*range(1, 25)]), ("1-3,7", [1, 2, 3, 7]), (" 7 , 5-6,05", [5, 6, 7]), ("24", [24])]
)
def test_actors_are_numbers_and_ranges(text, actors):
    assert parse_actors(text) == actors


@pytest.mark.parametrize("text", ["", "0-3", "25", "3-1", "1-", "a", "1,,2", "1-2-3", "1.5", "٣"])
def test_actors_that_do_not_exist_are_one_sentence(text):
    with pytest.raises(InputError, match=r"^actors is '.*'; it must be numbers from 1 to 24 and ranges of them"):
        parse_actors(text)


def test_the_command_downloads_and_names_the_next_one(server, tmp_path):
    folder = tmp_path / "my clips"
    ended = CliRunner().invoke(main, ["download", "ravdess", "--actors", "1,3", "--to", str(folder)])
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.splitlines()[-1].endswith(f"-p dataset ravdess -p data_root '{folder}'")
    assert set(find_trials(folder)[0]["actor"]) == {1, 3}


def test_the_sound_alone_is_one_archive(server, tmp_path):
    for _ in range(2):
        ended = CliRunner().invoke(main, ["download", "ravdess", "--sound", "--actors", "1,3", "--to", str(tmp_path)])
        assert ended.exit_code == 0, ended.output
    trials, _ = find_trials(tmp_path)
    assert (trials["video_path"] == "").all() and set(trials["actor"]) == {1, 3} and fetched(server) == [SOUND]


def test_ctrl_c_ends_in_one_line(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_fetch", interrupted)
    ended = CliRunner().invoke(main, ["download", "ravdess", "--to", str(tmp_path)])
    assert ended.exit_code == 130 and ended.output == "Error: interrupted; the same command goes on where it stopped\n"
