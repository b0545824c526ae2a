"""Fetching RAVDESS, from a server on this machine that has a tiny record in Zenodo's form."""

import hashlib
import io
import json
import shutil
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from workbook import InputError
from workbook.cli import main
from workbook.data import download
from workbook.data.download import PICTURES, SOUND, download_ravdess, parse_actors
from workbook.data.ravdess import find_trials
from workbook.files import as_bytes


def packed(*members, link=()):
    """The bytes of a zip: each member holds its own name over and over."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK if name in link else stat.S_IFREG) << 16
            archive.writestr(info, name * 997)
    return buffer.getvalue()


def clips(modality, actor, suffix):
    return [f"Actor_{actor:02d}/{modality}-01-{emotion:02d}-01-01-01-{actor:02d}.{suffix}" for emotion in (1, 3)]


class Server(ThreadingHTTPServer):
    """Serves `files` and the record of them. Requests are kept in `asked`; for files in `broken` half is sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.record, self.asked, self.broken, self.false = f"{self.address}/record", [], set(), set()
        sound = [name for actor in (1, 2, 3) for name in clips("03", actor, "wav")]
        self.files = {SOUND: packed("readme.txt", *sound, "__MACOSX/._03-01-01-01-01-01-01.wav")}
        for actor in (1, 2, 3):
            self.files[PICTURES.format(actor)] = packed(*clips("01", actor, "mp4"), *clips("02", actor, "mp4"))

    def listing(self):
        return [
            {
                "key": name,
                "size": len(content),
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

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "RETRIES", 0)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(server, folder, actors=(1, 2, 3)):
    said = []
    download_ravdess(folder, actors, server.record, progress=False, echo=said.append)
    return said


def content(folder):
    """The files below a folder, but for the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def test_all_clips_of_all_actors_come_as_they_were_packed_and_make_a_corpus(server, tmp_path):
    said = fetch(server, tmp_path)
    trials, problems = find_trials(tmp_path)
    assert problems.empty and len(trials) == 6 and (trials[["video_path", "audio_path"]] != "").all(axis=None)
    for name, bytes_ in content(tmp_path).items():
        assert name.startswith("archives/") or bytes_ == name.encode() * 997
    assert server.asked == ["record", SOUND, *(PICTURES.format(actor) for actor in (1, 2, 3))]
    assert "4 archives of " in said[0] and "to be fetched" in said[1]


def test_a_second_call_fetches_nothing(server, tmp_path):
    fetch(server, tmp_path)
    before, asked = content(tmp_path), len(server.asked)
    fetch(server, tmp_path)
    assert len(server.asked) == asked and content(tmp_path) == before


def test_archives_may_be_deleted_once_they_are_unpacked(server, tmp_path):
    fetch(server, tmp_path)
    for archive in tmp_path.glob("archives/*.zip"):
        archive.unlink()
    asked = len(server.asked)
    fetch(server, tmp_path)
    assert len(server.asked) == asked


def test_a_clip_that_was_lost_or_cut_is_unpacked_again_from_the_archive_that_is_there(server, tmp_path):
    fetch(server, tmp_path)
    whole = content(tmp_path)
    (tmp_path / clips("01", 2, "mp4")[0]).unlink()
    (tmp_path / clips("03", 3, "wav")[1]).write_bytes(b"half")
    server.asked.clear()
    fetch(server, tmp_path)
    assert content(tmp_path) == whole and server.asked == ["record"]


def test_only_the_clips_of_the_wanted_actors_are_unpacked_and_others_may_follow(server, tmp_path):
    fetch(server, tmp_path, [2])
    assert set(find_trials(tmp_path)[0]["actor"]) == {2}
    assert server.asked == ["record", SOUND, PICTURES.format(2)]
    server.asked.clear()
    fetch(server, tmp_path, [2, 3])
    assert set(find_trials(tmp_path)[0]["actor"]) == {2, 3}
    assert server.asked == ["record", PICTURES.format(3)]


@pytest.mark.parametrize("checksum", [None, "", "md5:", 7])
def test_a_record_without_a_checksum_is_refused_before_anything_is_fetched(checksum, server, tmp_path, monkeypatch):
    listing = [file | {"checksum": checksum} for file in server.listing()]
    monkeypatch.setattr(server, "listing", lambda: listing)
    with pytest.raises(InputError, match="gives no md5 checksum of "):
        fetch(server, tmp_path)
    assert server.asked == ["record"]


def test_an_archive_with_another_checksum_is_refused_and_nothing_of_it_is_left(server, tmp_path):
    server.false = {PICTURES.format(1)}
    with pytest.raises(InputError, match=r"Actor_01.zip.*its checksum is not the record's md5:0{32}") as refused:
        fetch(server, tmp_path, [1])
    assert "\n" not in str(refused.value)
    assert set(content(tmp_path)) == {f"archives/{SOUND}", "archives/unpacked.json", *clips("03", 1, "wav")}


def test_a_server_that_goes_in_the_middle_is_one_sentence_and_the_next_call_goes_on(server, tmp_path):
    server.broken = {PICTURES.format(1)}
    with pytest.raises(InputError, match=r"Actor_01.zip.*broke; the same command goes on") as refused:
        fetch(server, tmp_path, [1])
    assert "\n" not in str(refused.value)
    assert {path.name for path in (tmp_path / "archives").iterdir()} == {SOUND, "unpacked.json", ".unpacked.lock"}
    server.broken.clear()
    server.asked.clear()
    fetch(server, tmp_path, [1])
    assert server.asked == ["record", PICTURES.format(1)]
    assert (find_trials(tmp_path)[0]["video_path"] != "").all()


def test_a_broken_connection_is_tried_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "RETRIES", 1)
    monkeypatch.setattr("time.sleep", lambda seconds: server.broken.clear())
    server.broken = {SOUND}
    fetch(server, tmp_path, [1])
    assert server.asked.count(SOUND) == 2


def test_what_a_killed_call_has_left_is_cleared_and_its_half_archive_not_taken_for_one(server, tmp_path):
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "tmp1a2b3c").write_bytes(b"half")
    (tmp_path / "archives" / SOUND).write_bytes(b"half")  # by another program
    fetch(server, tmp_path, [1])
    assert {path.name for path in (tmp_path / "archives").glob("*[!k]")} == {SOUND, PICTURES.format(1), "unpacked.json"}
    assert len(find_trials(tmp_path)[0]) == 2


@pytest.mark.parametrize(
    "name", ["../evil.mp4", "Actor_01/../../evil.mp4", "/tmp/evil.mp4", "..\\evil.mp4", "C:/evil.mp4"]
)
def test_a_path_that_leads_outside_is_refused_before_anything_is_unpacked(server, tmp_path, name):
    server.files[SOUND] = packed(*clips("03", 1, "wav"), name)
    with pytest.raises(InputError, match="leads outside: nothing of it is unpacked"):
        fetch(server, tmp_path / "in" / "here", [1])
    assert set(content(tmp_path)) == {f"in/here/archives/{SOUND}"}


def test_a_link_is_refused(server, tmp_path):
    server.files[SOUND] = packed(*clips("03", 1, "wav"), "Actor_01/link", link=["Actor_01/link"])
    with pytest.raises(InputError, match="'Actor_01/link', which is a link"):
        fetch(server, tmp_path, [1])
    assert set(content(tmp_path)) == {f"archives/{SOUND}"}


def test_an_archive_that_is_no_zip_or_lacks_an_actor_is_one_sentence(server, tmp_path):
    server.files[SOUND] = b"I am text"
    with pytest.raises(InputError, match=r"Audio_Speech_Actors_01-24.zip cannot be unpacked: File is not a zip file"):
        fetch(server, tmp_path / "a", [1])
    server.files[SOUND] = packed(*clips("03", 2, "wav"))
    with pytest.raises(InputError, match=r"holds no clip of actor 1$"):
        fetch(server, tmp_path / "b", [1])


def leave_free(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9**9, 9**9 - free, free))


def test_too_small_a_disk_is_one_sentence_before_anything_is_fetched(server, tmp_path, monkeypatch):
    leave_free(monkeypatch, 4000)
    with pytest.raises(InputError, match=r"needs 1\.\d+ MB, but its disk has 4 kB free: give another folder$"):
        fetch(server, tmp_path)
    assert server.asked == ["record"]


def test_an_archive_that_is_larger_unpacked_than_the_disk_is_refused(server, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(clips("03", 1, "wav")[0], bytes(10**7))
    server.files[SOUND] = buffer.getvalue()
    leave_free(monkeypatch, 10**6)
    with pytest.raises(InputError, match="needs 10 MB, but its disk has 1 MB free"):
        fetch(server, tmp_path, [1])
    assert set(content(tmp_path)) == {f"archives/{SOUND}"}


@pytest.mark.parametrize("count, text", [(0, "0 bytes"), (999, "999 bytes"), (4000, "4 kB"), (13.57e9, "13.6 GB")])
def test_bytes_are_said_in_three_digits(count, text):
    assert as_bytes(count) == text


def test_a_server_that_is_not_there_and_a_record_that_is_another_are_one_sentence(server, tmp_path):
    with pytest.raises(InputError, match="cannot be read: the server answers 404 Not Found"):
        download_ravdess(tmp_path, [1], f"{server.address}/files/none", progress=False)
    del server.files[PICTURES.format(3)]
    with pytest.raises(InputError, match="is not the record of RAVDESS as expected: it lacks 'Video_Speech_Actor_03"):
        fetch(server, tmp_path)
    with pytest.raises(InputError, match="cannot be read: there is no connection"):
        download_ravdess(tmp_path, [1], "http://127.0.0.1:1/record", progress=False)


def test_a_folder_that_cannot_be_written_is_one_sentence(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file.* cannot be written: "):
        fetch(server, tmp_path / "file", [1])


@pytest.mark.parametrize(
    "text, actors", [("1-24", [*range(1, 25)]), ("1-3,7", [1, 2, 3, 7]), (" 7 , 5-6,05", [5, 6, 7]), ("24", [24])]
)
def test_actors_are_numbers_and_ranges(text, actors):
    assert parse_actors(text) == actors


@pytest.mark.parametrize("text", ["", "0-3", "25", "3-1", "1-", "-3", "a", "1;2", "1,,2", "1-2-3", "1.5", "٣"])
def test_actors_that_do_not_exist_are_one_sentence(text):
    with pytest.raises(InputError, match=r"^actors is '.*'; it must be numbers from 1 to 24 and ranges of them"):
        parse_actors(text)


def test_the_command_fetches_and_names_the_next_one(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "RECORD", server.record)
    ended = CliRunner().invoke(main, ["download", "ravdess", "--actors", "1,3", "--to", str(tmp_path / "r")])
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.splitlines()[-1].endswith(f"-p dataset ravdess -p data_root {tmp_path / 'r'}")
    assert set(find_trials(tmp_path / "r")[0]["actor"]) == {1, 3}


@pytest.mark.parametrize("arguments", [["mosei"], ["ravdess", "--actors", "0"]])
def test_the_command_refuses_what_there_is_not(arguments, tmp_path):
    ended = CliRunner().invoke(main, ["download", *arguments, "--to", str(tmp_path / "r")])
    assert ended.exit_code == 2 and "Error: " in ended.output and not (tmp_path / "r").exists()


def test_ctrl_c_ends_in_one_line(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_archives", interrupted)
    ended = CliRunner().invoke(main, ["download", "ravdess", "--to", str(tmp_path)])
    assert ended.exit_code == 130 and ended.output == "Error: interrupted; the same command goes on where it stopped\n"
