"""Downloads from a local server that misbehaves on demand, and archives that must be refused."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import re
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dmnplus.data.archive import extract_safely
from dmnplus.data.babi import ARCHIVE_NAME
from dmnplus.data.download import BABI_SOURCES, Remote, download, get_babi
from dmnplus.data.example import DataError

# Several reads long, and no two parts alike.
CONTENT = b"".join(hashlib.sha256(number.to_bytes(4)).digest() for number in range(10_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2

Behaviour = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def local(self) -> Server:
        assert isinstance(self.server, Server)
        return self.server

    def do_GET(self) -> None:
        self.local.requests.append(self.headers.get("Range"))
        self.close_connection = True
        behaviours = self.local.behaviours
        behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        behaviour(self)

    def start(self) -> int:
        value = self.headers.get("Range")
        return int(value.removeprefix("bytes=").removesuffix("-")) if value else 0

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []
        self.behaviours: list[Behaviour] = [good]
        # Set at the end of a test, so that a stalled answer ends with it.
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"


def good(handler: Handler) -> None:
    start = handler.start()
    if start >= len(CONTENT):
        handler.answer(416, b"")
    elif start:
        rest = CONTENT[start:]
        handler.answer(206, rest, Content_Range=f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
    else:
        handler.answer(200, CONTENT)


def no_range(handler: Handler) -> None:
    handler.answer(200, CONTENT)


def broken(handler: Handler) -> None:
    handler.answer(200, CONTENT[:HALF], length=len(CONTENT))


def broken_chunks(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(f"{HALF:x}\r\n".encode() + CONTENT[:HALF] + b"\r\n" + b"ffff\r\nabc")


def status(code: int) -> Behaviour:
    return lambda handler: handler.answer(code, b"<html>an error page</html>", Content_Type="text/html")


def wrong(handler: Handler) -> None:
    handler.answer(200, CONTENT[::-1])


def web_page(handler: Handler) -> None:
    handler.answer(200, b"<html>Please log in</html>", Content_Type="text/html; charset=utf-8")


def length_too_small(handler: Handler) -> None:
    handler.answer(200, CONTENT, length=HALF)


def length_too_large(handler: Handler) -> None:
    if handler.start():
        good(handler)
    else:
        handler.answer(200, CONTENT, length=len(CONTENT) + 1000)


def endless(handler: Handler) -> None:
    handler.answer(200, CONTENT * 3)


def other_version(handler: Handler) -> None:
    """Half of another file: what follows from a good server will not fit it."""
    handler.answer(200, CONTENT[::-1][:HALF], length=len(CONTENT))


def wrong_part(handler: Handler) -> None:
    """Answers any request for the rest with another piece."""
    if handler.start():
        handler.answer(206, CONTENT[10:], Content_Range=f"bytes 10-{len(CONTENT) - 1}/{len(CONTENT)}")
    else:
        handler.answer(200, CONTENT)


def stall(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT[:HALF])
    handler.wfile.flush()
    handler.local.over.wait(10)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "file.bin"


def fetch(server: Server, target: Path, attempts: int = 3, sha256: str = SHA256, size: int | None = None) -> Path:
    return download(server.url, target, sha256, size=size, timeout=0.3, attempts=attempts, pause=0.001)


def parts(target: Path) -> list[Path]:
    return list(target.parent.glob(".*.part"))


def failure(server: Server, target: Path, attempts: int = 3, size: int | None = None) -> str:
    with pytest.raises(DataError) as caught:
        fetch(server, target, attempts, size=size)
    assert not target.exists()
    # Each one names the address and the way by hand.
    assert server.url in str(caught.value)
    assert f"load it by hand and save it as {target}" in str(caught.value)
    return str(caught.value)


def test_a_whole_file_with_its_progress(server: Server, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    assert download(server.url, target, SHA256.upper(), lambda *now: seen.append(now), timeout=5) == target
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert not parts(target)


def test_a_file_that_is_there_is_not_fetched_again(server: Server, target: Path) -> None:
    for _ in range(2):
        fetch(server, target)
    assert len(server.requests) == 1


def test_a_wrong_file_that_is_there_is_replaced(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"half")
    fetch(server, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("first", [broken, stall], ids=lambda first: first.__name__)
def test_only_the_rest_is_asked_for_after_a_break(server: Server, target: Path, first: Behaviour) -> None:
    server.behaviours = [first, good]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={HALF}-"]


def test_chunks_that_break_off(server: Server, target: Path) -> None:
    server.behaviours = [broken_chunks, good]
    fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_a_later_call_goes_on(server: Server, target: Path) -> None:
    server.behaviours = [broken, good]
    text = failure(server, target, attempts=1)
    assert f"the connection broke off after {HALF:,} of {len(CONTENT):,} bytes" in text
    assert f"{HALF:,} bytes are kept; run again to go on" in text
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={HALF}-"]


def test_a_server_without_ranges_sends_all_again(server: Server, target: Path) -> None:
    server.behaviours = [broken, no_range]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    # What came is not put after the half that is there, and then loaded once more.
    assert server.requests == [None, f"bytes={HALF}-"]


def test_a_server_that_sends_another_part_than_asked(server: Server, target: Path) -> None:
    server.behaviours = [broken, wrong_part, good]
    fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_a_part_of_another_version_is_started_again(server: Server, target: Path) -> None:
    server.behaviours = [other_version, good]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={HALF}-", None]


@pytest.mark.parametrize("kept", [CONTENT, CONTENT + b"more"], ids=["whole", "too long"])
def test_a_part_that_has_no_rest(server: Server, target: Path, kept: bytes) -> None:
    target.parent.mkdir()
    (target.parent / f".{target.name}.{SHA256[:12]}.part").write_bytes(kept)
    fetch(server, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("lie", "expected"),
    [
        (wrong, "its content has the checksum"),
        (length_too_small, "its content has the checksum"),
        (web_page, "the server sent a web page instead of the file"),
    ],
)
def test_wrong_content_is_refused_and_removed(server: Server, target: Path, lie: Behaviour, expected: str) -> None:
    server.behaviours = [lie]
    assert expected in failure(server, target)
    assert not parts(target)
    assert len(server.requests) == 1


def test_content_that_does_not_end_is_not_taken_in(server: Server, target: Path) -> None:
    server.behaviours = [endless]
    assert "its content has the checksum" in failure(server, target, size=len(CONTENT))
    assert not parts(target)
    taken: list[int] = []
    with pytest.raises(DataError):
        download(server.url, target, SHA256, lambda done, _: taken.append(done), size=len(CONTENT), attempts=1)
    assert HALF < max(taken) <= len(CONTENT)


def test_a_length_too_large_does_not_matter(server: Server, target: Path) -> None:
    server.behaviours = [length_too_large]
    fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_not_found_ends_at_once(server: Server, target: Path) -> None:
    server.behaviours = [status(404)]
    assert "the server answers 404 Not Found" in failure(server, target)
    assert len(server.requests) == 1


def test_a_passing_server_error_is_tried_again(server: Server, target: Path) -> None:
    server.behaviours = [status(500), status(503), good]
    fetch(server, target)
    assert len(server.requests) == 3
    target.unlink()
    server.behaviours = [status(500)]
    assert "the server answers 500" in failure(server, target)
    assert len(server.requests) == 6


def test_a_server_that_stalls_and_one_that_is_not_there(server: Server, target: Path) -> None:
    server.behaviours = [stall]
    assert "no answer within 0.3 seconds" in failure(server, target, attempts=1)
    closed = server.url.replace("127.0.0.1", "127.0.0.1:1/", 1)
    with pytest.raises(DataError, match="the connection failed"):
        download(closed, target, SHA256, timeout=0.3, attempts=1)


def test_an_interrupt_keeps_what_is_there(server: Server, target: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done > HALF:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server.url, target, SHA256, interrupt, timeout=5)
    (part,) = parts(target)
    assert CONTENT.startswith(part.read_bytes())
    kept = part.stat().st_size
    assert kept > HALF
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={kept}-"]


def test_a_full_disk(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(target.parents[1])
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(DataError, match="the disk is full; 0 bytes are kept"):
            fetch(server, target)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DataError, match=r"the disk is full; [\d,]+ bytes are kept in \..*\.part: free some space"):
            fetch(server, target)
    assert not target.exists()
    fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        fetch(server, tmp_path / "file" / "target")


def test_an_address_that_is_no_web_address(target: Path) -> None:
    with pytest.raises(DataError, match="file:///etc/passwd: is not a web address"):
        download("file:///etc/passwd", target, SHA256)


def test_several_at_once_fetch_once(server: Server, target: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(fetch, server, target) for _ in range(4)]:
            assert done.result() == target
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_babi_comes_from_the_next_source_when_one_is_gone(server: Server, tmp_path: Path) -> None:
    server.behaviours = [status(404), good]
    sources = (Remote(server.url + "/gone", SHA256), Remote(server.url, SHA256, len(CONTENT)))
    archive = get_babi(tmp_path, sources=sources)
    assert archive == tmp_path / ARCHIVE_NAME
    assert archive.read_bytes() == CONTENT
    assert get_babi(tmp_path, sources=sources) == archive
    assert len(server.requests) == 2


def test_babi_names_every_address_that_failed(server: Server, tmp_path: Path) -> None:
    server.behaviours = [status(404)]
    sources = (Remote(server.url + "/one", SHA256), Remote(server.url + "/two", SHA256))
    with pytest.raises(DataError, match=r"(?s)could not be downloaded:.*/one: .*404.*/two: .*404"):
        get_babi(tmp_path, sources=sources)


def test_a_folder_that_cannot_be_written_is_named_once(tmp_path: Path) -> None:
    (tmp_path / f".{ARCHIVE_NAME}.lock").mkdir()
    with pytest.raises(DataError, match="choose another folder") as failed:
        get_babi(tmp_path, sources=(Remote("http://one", SHA256), Remote("http://two", SHA256)))
    assert str(failed.value).count("cannot be written") == 1


def test_an_unknown_archive_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ARCHIVE_NAME).write_bytes(b"mine")
    with pytest.raises(DataError, match="is not one of the known bAbI archives"):
        get_babi(tmp_path)
    assert (tmp_path / ARCHIVE_NAME).read_bytes() == b"mine"


def test_the_known_sources_are_well_formed() -> None:
    for source in BABI_SOURCES:
        assert re.fullmatch(r"[0-9a-f]{64}", source.sha256)
        assert source.size is not None


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, content


def make_archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def test_an_archive_unpacks_whole(tmp_path: Path) -> None:
    archive = make_archive(
        tmp_path / "a.tar.gz",
        member("top", kind=tarfile.DIRTYPE),
        member("top/a.txt", b"A"),
        member("./top/b/c.txt", b"C"),
    )
    folder = extract_safely(archive, tmp_path / "new" / "folder")
    assert (folder / "top" / "a.txt").read_bytes() == b"A"
    assert (folder / "top" / "b" / "c.txt").read_bytes() == b"C"
    with pytest.raises(DataError, match="already exists"):
        extract_safely(archive, folder)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (member("/etc/evil", b"x"), "would land outside the folder"),
        (member("../evil", b"x"), "would land outside the folder"),
        (member("a/../../evil", b"x"), "would land outside the folder"),
        (member("C:\\evil", b"x"), "would land outside the folder"),
        (member("a\\..\\..\\evil", b"x"), "would land outside the folder"),
        (member("link", kind=tarfile.SYMTYPE, link="/etc"), "is a link"),
        (member("link", kind=tarfile.LNKTYPE, link="../evil"), "is a link"),
        (member("device", kind=tarfile.CHRTYPE), "is a device"),
        (member("pipe", kind=tarfile.FIFOTYPE), "is a device"),
    ],
)
def test_a_hostile_member_refuses_the_archive(
    tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes], expected: str
) -> None:
    archive = make_archive(tmp_path / "a.tar.gz", member("good.txt", b"x"), bad)
    with pytest.raises(DataError, match=f"its member {re.escape(repr(bad[0].name))} {expected}"):
        extract_safely(archive, tmp_path / "new")
    assert list(tmp_path.iterdir()) == [archive]


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path) -> None:
    bomb = make_archive(tmp_path / "a.tar.gz", *(member(f"{number}", bytes(100_000)) for number in range(11)))
    with pytest.raises(DataError, match=r"unpacks to more than 1,000,000 bytes"):
        extract_safely(bomb, tmp_path / "new", max_bytes=1_000_000)
    with pytest.raises(DataError, match=r"or 10 members"):
        extract_safely(bomb, tmp_path / "new", max_members=10)
    assert list(tmp_path.iterdir()) == [bomb]


@pytest.mark.parametrize("content", [b"", b"not an archive", gzip.compress(b"not a tar", mtime=0)])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match="damaged or incomplete archive"):
        extract_safely(tmp_path / "a.tar.gz", tmp_path / "new")


def test_a_cut_archive_leaves_nothing(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a.tar.gz", *(member(f"{number}", CONTENT[:5_000]) for number in range(5)))
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged or incomplete archive"):
        extract_safely(archive, tmp_path / "new")
    assert list(tmp_path.iterdir()) == [archive]


def test_a_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be unpacked"):
        extract_safely(tmp_path / "none.tar.gz", tmp_path / "new")
    assert not list(tmp_path.iterdir())
