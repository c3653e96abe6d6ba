"""Downloading from a model hub, against a server of the test's own."""

import hashlib
import io
import json
import stat
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from fixtures_support import COMPACT

from gazegaussian.data import check_dataset
from gazegaussian.data.download import archives, hub
from gazegaussian.data.download.archives import JoinedFiles, unpack
from gazegaussian.data.download.datasets import download_set, require_checksum
from gazegaussian.errors import ConfigError, DataError

SUBJECT = (COMPACT / "xgaze_subject0000.h5").read_bytes()
PATTERNS = ("xgaze_*.h5", "train_test_split.json")


def zipped(members):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return whole.getvalue()


class Hub:
    """A model hub with one repository; `cut` closes the next connections after so many bytes of the answer."""

    def __init__(self):
        self.files = {}
        self.cut = []
        self.requests = []  # (file name, first byte)
        self.ranges = True
        self.busy = []  # codes that the next requests get instead
        self.wrong = {}  # sizes and checksums that the listing gives instead of the right ones
        state = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                if self.path == "/api/models/owner/heads/tree/main":
                    self.answer(200, json.dumps(state.listing()).encode())
                elif self.path.startswith("/owner/heads/resolve/main/"):
                    self.file(self.path.rsplit("/", 1)[1])
                else:
                    self.send_error(404, "Repository not found")

            def file(self, name):
                begin = int(self.headers.get("Range", "bytes=0-")[6:-1]) if state.ranges else 0
                state.requests.append((name, begin))
                if state.busy:
                    return self.send_error(state.busy.pop(0))
                return self.answer(
                    206 if begin else 200, state.files[name], begin, state.cut.pop(0) if state.cut else None
                )

            def answer(self, code, content, begin=0, cut=None):
                self.send_response(code)
                self.send_header("Content-Length", str(len(content) - begin))
                if begin:
                    self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
                self.end_headers()
                self.wfile.write(content[begin : None if cut is None else begin + cut])

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def listing(self):
        return [
            {"type": "directory", "path": "static", "oid": "0", "size": 0},
            *(
                {
                    "type": "file", "path": name, "oid": "1", "size": len(content),
                    "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130},
                } | self.wrong
                for name, content in self.files.items()
            ),
        ]  # fmt: skip


@pytest.fixture
def server(monkeypatch):
    hub_server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub_server.server.server_port}")
    monkeypatch.setattr(hub, "PAUSE", 0.0)
    yield hub_server
    hub_server.server.shutdown()
    hub_server.server.server_close()


@pytest.fixture
def columbia(server):
    subjects = {f"ColumbiaGaze/columbia_subject{n:04d}.h5": evaluation_subject() for n in (1, 2)}
    server.files["ColumbiaGaze.zip"] = zipped({**subjects, "__MACOSX/._columbia_subject0001.h5": b"", "read.me": b"x"})
    return server


def evaluation_subject():
    import h5py

    from gazegaussian.data.schema import TRAINING_ONLY

    whole = io.BytesIO()
    with h5py.File(COMPACT / "xgaze_subject0000.h5") as stored, h5py.File(whole, "w") as file:
        for key in stored.keys() - set(TRAINING_ONLY):
            file[key] = stored[key][()]
    return whole.getvalue()


def download(folder, name="columbia", **others):
    return download_set(name, folder, repository="owner/heads", **others)


def test_a_data_set_arrives_ready_to_use_and_is_fetched_once(columbia, tmp_path):
    assert check_dataset(download(tmp_path)).ok
    names = {"columbia_subject0001.h5", "columbia_subject0002.h5", "download.json"}
    assert {path.name for path in tmp_path.iterdir()} == names  # no archive, no odd file
    before = list(columbia.requests)
    download(tmp_path)
    assert columbia.requests == before == [("ColumbiaGaze.zip", 0)]
    (tmp_path / "columbia_subject0002.h5").unlink()
    assert check_dataset(download(tmp_path)).subjects == 2


def test_parts_become_one_archive_and_splits_can_be_chosen(server, tmp_path):
    whole = zipped({f"ETH-XGaze/xgaze_subject{n:04d}.h5": SUBJECT for n in (0, 3)})
    third = len(whole) // 3
    for suffix, part in zip(
        ("aa", "ab", "ac"), (whole[:third], whole[third : 2 * third], whole[2 * third :]), strict=True
    ):
        server.files[f"ETH-XGaze.zip.part{suffix}"] = part
    server.files["ETH-XGaze_test.zip"] = zipped({"xgaze_subject0012.h5": SUBJECT})
    download(tmp_path, "eth_xgaze", splits=["val"])
    assert [name for name, _ in server.requests] == ["ETH-XGaze_test.zip"]
    download(tmp_path, "eth_xgaze")
    assert sorted(name for name, _ in server.requests)[:3] == [f"ETH-XGaze.zip.part{s}" for s in ("aa", "ab", "ac")]
    assert len(server.requests) == 4
    report = check_dataset(tmp_path)
    assert report.splits == {"train": 2, "val": 1, "test": 0}
    assert (tmp_path / "xgaze_subject0003.h5").read_bytes() == SUBJECT


def test_a_cut_connection_goes_on_where_it_was(columbia, tmp_path):
    columbia.cut = [1000, 500]
    download(tmp_path)
    assert [begin for _, begin in columbia.requests] == [0, 1000, 1500]
    assert check_dataset(tmp_path).ok


def test_an_ended_program_goes_on_where_it_was(columbia, tmp_path):
    columbia.cut = [1000, *([0] * hub.ATTEMPTS)]
    with pytest.raises(DataError, match=r"expected \d+ bytes, got 1000 .* run again to resume"):
        download(tmp_path)
    columbia.requests.clear()
    download(tmp_path)
    assert columbia.requests == [("ColumbiaGaze.zip", 1000)]


def test_a_busy_server_is_asked_again_and_a_refusal_is_final(columbia, tmp_path):
    columbia.busy = [403]
    with pytest.raises(DataError, match="expected the file, the answer was 403"):
        download(tmp_path)
    columbia.busy = [503, 429]
    assert check_dataset(download(tmp_path)).ok


def test_a_server_without_ranges_sends_it_all_again(columbia, tmp_path):
    columbia.ranges = False
    columbia.cut = [1000]
    assert check_dataset(download(tmp_path)).ok


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 100}, "expected 100 bytes, got"),
        ({"size": 10_000_000}, "expected 10000000 bytes, got"),
        ({"lfs": {"oid": "0" * 64}}, "expected the checksum 000000000000, got"),
    ],
)
def test_what_is_not_the_announced_file_is_refused(columbia, tmp_path, wrong, message):
    columbia.wrong = wrong
    with pytest.raises(DataError, match=message):
        download(tmp_path)
    assert not list(tmp_path.glob("*.h5"))


def test_too_small_a_disk_is_known_before_anything_comes(columbia, tmp_path, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    with pytest.raises(DataError, match="GB of free disk for ColumbiaGaze"):
        download(tmp_path)
    assert columbia.requests == []


def test_what_is_not_there_is_one_line(server, tmp_path, monkeypatch):
    server.files["other.zip"] = b""
    with pytest.raises(DataError, match=r"expected ColumbiaGaze.zip, found other.zip; give --repository"):
        download(tmp_path)
    with pytest.raises(DataError, match="the answer was 404"):
        download_set("columbia", tmp_path, repository="owner/nothing")
    with pytest.raises(ConfigError, match="Unknown data set 'gaze'; known: columbia, eth_xgaze"):
        download(tmp_path, "gaze")
    with pytest.raises(ConfigError, match="is offered as val, not as train"):
        download(tmp_path, splits=["train"])
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="cannot be reached") as caught:
        download(tmp_path)
    assert "\n" not in str(caught.value)


def link():
    info = zipfile.ZipInfo("xgaze_subject0001.h5")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "name", ["../xgaze_subject0001.h5", "/tmp/xgaze_subject0001.h5", "a/../../xgaze_subject0001.h5", "C:/xgaze_subject0001.h5",
             "..\\xgaze_subject0001.h5", link()]
)  # fmt: skip
def test_hostile_archives_are_refused_whole(tmp_path, name):
    path = tmp_path / "in" / "x.zip"
    path.parent.mkdir()
    path.write_bytes(zipped({"xgaze_subject0000.h5": SUBJECT, name: b"/etc/passwd"}))
    with pytest.raises(DataError, match=r"found '.*', a link or a path that leads out of it"):
        unpack([path], tmp_path / "in" / "out", PATTERNS)
    assert not list(tmp_path.rglob("*.h5"))


def test_archives_that_are_none_or_hold_nothing_or_too_much(tmp_path, monkeypatch):
    def attempt(content):
        (tmp_path / "x.zip").write_bytes(content)
        return unpack([tmp_path / "x.zip"], tmp_path / "out", PATTERNS)

    good = zipped({"xgaze_subject0000.h5": SUBJECT})
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 255
    for content in (b"nothing", good[:-30], bytes(damaged)):
        with pytest.raises(DataError, match="found a damaged or locked one"):
            attempt(content)
    with pytest.raises(DataError, match=r"expected files xgaze_\*.h5 or train_test_split.json, found other.txt"):
        attempt(zipped({"other.txt": b""}))
    with pytest.raises(DataError, match="every file once"):
        attempt(zipped({"a/xgaze_subject0000.h5": b"", "b/xgaze_subject0000.h5": b""}))
    assert not list((tmp_path / "out").glob("*"))
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10})())
    with pytest.raises(DataError, match=r"free disk for what is in x\.zip"):
        attempt(zipped({"xgaze_subject0000.h5": np.zeros(10_000_000, np.uint8).tobytes()}))


def test_unpacking_again_leaves_what_is_whole(tmp_path):
    (tmp_path / "x.zip").write_bytes(zipped({"d/xgaze_subject0000.h5": SUBJECT, "d/xgaze_subject0003.h5": SUBJECT}))
    first, second = unpack([tmp_path / "x.zip"], tmp_path / "out", PATTERNS)
    stamp = first.stat().st_mtime_ns
    second.write_bytes(b"half")
    unpack([tmp_path / "x.zip"], tmp_path / "out", PATTERNS)
    assert first.stat().st_mtime_ns == stamp
    assert second.read_bytes() == SUBJECT


def test_joined_files_read_as_one(tmp_path):
    content = np.random.default_rng(0).bytes(1000)
    parts = [tmp_path / str(i) for i in range(4)]
    for path, (a, b) in zip(parts, ((0, 1), (1, 400), (400, 400), (400, 1000)), strict=True):
        path.write_bytes(content[a:b])
    with io.BufferedReader(JoinedFiles(parts), 64) as whole:
        assert whole.read() == content
        for begin, count in ((0, 5), (399, 2), (995, 50), (1000, 1)):
            whole.seek(begin)
            assert whole.read(count) == content[begin : begin + count]
        whole.seek(-3, io.SEEK_END)
        assert whole.read() == content[-3:]


@pytest.mark.parametrize("endpoint", ["http://hub.example", "ftp://127.0.0.2", "file:///etc"])
def test_a_hub_that_anybody_could_answer_for_is_refused(monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(DataError, match="expected an address that begins with https://"):
        hub.list_files("owner/heads")


def test_an_archive_without_or_with_another_checksum_is_refused():
    file = hub.RemoteFile("a.zip", 1, "ab" * 32, "")
    require_checksum(file, None, "owner/heads")
    require_checksum(file, "ab" * 32, "owner/heads")
    with pytest.raises(DataError, match="configs/datasets pins cdcdcd"):
        require_checksum(file, "cd" * 32, "owner/heads")
    with pytest.raises(DataError, match=r"expected a SHA-256 for a\.zip"):
        require_checksum(replace(file, sha256=None), None, "owner/heads")
