"""Files that are replaced atomically, created privately and locked."""

import errno
import fcntl
import io
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from marketplace_async._core.files import (
    check_distinct,
    create,
    locked,
    remove,
    reopen,
    replacing,
    write_all,
)


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("old")
    with replacing(file) as stream:
        stream.write(b"new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_symbolic_link_is_replaced_and_its_target_unchanged(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with replacing(link) as stream:
        stream.write(b"new")
    assert (link.is_symlink(), link.read_text(), target.read_text()) == (False, "new", "old")


def test_a_failed_write_leaves_the_file_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    file = tmp_path / "x"
    file.write_text("old")
    with pytest.raises(OSError, match="No space left"), replacing(file) as stream:
        stream.write(b"new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_directory_a_pipe_and_a_device_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    for path, kind in (("folder", "directory"), ("pipe", "pipe"), ("/dev/null", "device")):
        with pytest.raises(OSError, match=f"is a {kind}: expected"), replacing(tmp_path / path):
            pass
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert sorted(tmp_path.iterdir()) == before


def test_a_new_file_is_private_and_nothing_is_overwritten_or_followed(tmp_path: Path) -> None:
    file, target, link, dangling = (tmp_path / name for name in ("x", "target", "link", "dangling"))
    with create(file) as stream:
        write_all(stream, b"content")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"content", 0o600)
    target.write_text("old")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "nowhere")
    for taken in (file, link, dangling):
        with pytest.raises(FileExistsError):
            create(taken)
    for taken in (link, dangling):
        with pytest.raises(OSError, match="links are not written through"):
            reopen(taken)
    assert (file.read_bytes(), target.read_text()) == (b"content", "old")
    assert not (tmp_path / "nowhere").exists()
    with reopen(file) as stream:
        assert stream.readall() == b"content"


def test_everything_is_written_in_spite_of_short_writes(tmp_path: Path) -> None:
    class Short(io.FileIO):
        def write(self, data: Any, /) -> int:
            return super().write(data[:3])

    with Short(tmp_path / "x", "w") as stream:
        write_all(stream, b"more than three bytes")
    assert (tmp_path / "x").read_bytes() == b"more than three bytes"


@pytest.mark.parametrize("exists", [True, False])
def test_an_output_that_is_an_input_is_rejected_under_every_name(
    tmp_path: Path, exists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "source"
    names = [source, Path("source"), tmp_path / "folder" / ".." / "source"][: 3 if exists else 2]
    if exists:
        source.touch()
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to(source)
        (tmp_path / "hard").hardlink_to(source)
        names += [tmp_path / "link", tmp_path / "hard"]
    for name in names:
        with pytest.raises(OSError, match="is an input of this job: pass another output"):
            check_distinct([tmp_path / "other", name], [tmp_path / "first", source])
    check_distinct([tmp_path / "other"], [source])


ADDS = """
import sys, time
from pathlib import Path
from marketplace_async._core.files import locked, replacing
file = Path(sys.argv[1])
for number in range(10):
    with locked(file, timeout=60):
        old = file.read_bytes() if file.exists() else b""
        time.sleep(0.002)
        with replacing(file) as stream:
            stream.write(old + f"{sys.argv[2]}-{number}\\n".encode())
"""


def test_six_processes_that_rewrite_a_file_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "x"
    processes = [
        subprocess.Popen([sys.executable, "-c", ADDS, file, str(number)]) for number in range(6)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0] * 6
    lines = file.read_text().splitlines()
    assert sorted(lines) == sorted(f"{one}-{number}" for one in range(6) for number in range(10))
    assert list(tmp_path.iterdir()) == [file]


def test_a_lock_ends_with_its_process_and_has_a_timeout(tmp_path: Path) -> None:
    file = tmp_path / "x"
    program = (
        "import sys, time, pathlib\n"
        "from marketplace_async._core.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(TimeoutError, match=f"{file}: another process is writing it"):
            with locked(file, timeout=0.1):
                pass
        holder.kill()
    with locked(file, timeout=5):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_within_a_process_excludes_other_threads(tmp_path: Path) -> None:
    with locked(tmp_path / "x"), pytest.raises(TimeoutError):
        with locked(tmp_path / "x", timeout=0):
            pass


def test_a_file_system_without_locks_is_used_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with locked(tmp_path / "x"):
        pass
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, sys
from pathlib import Path
from marketplace_async._core.files import replacing
with replacing(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    stream.flush()
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("next_step", ["replace", "remove"])
def test_a_killed_writer_changes_nothing_and_the_next_one_cleans_up(
    tmp_path: Path, next_step: str
) -> None:
    file = tmp_path / "x"
    file.write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    assert killed.returncode == -9
    assert file.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    if next_step == "remove":
        remove(file)
        assert list(tmp_path.iterdir()) == []
        return
    with replacing(file) as stream:
        stream.write(b"new")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_what_was_planted_at_the_temporary_path_is_neither_followed_nor_written(
    tmp_path: Path,
) -> None:
    file, planted, other = tmp_path / "x", tmp_path / ".x.new", tmp_path / "other"
    for plant in (planted.symlink_to, planted.hardlink_to):
        other.write_text("theirs")
        plant(other)
        with replacing(file) as stream:
            stream.write(b"ours")
        assert (file.read_text(), other.read_text()) == ("ours", "theirs")
        assert sorted(tmp_path.iterdir()) == [other, file]


def test_writers_at_the_same_time_take_turns(tmp_path: Path) -> None:
    file = tmp_path / "x"
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from marketplace_async._core.files import replacing\n"
        "for _ in range(30):\n"
        "    with replacing(Path(sys.argv[1])) as stream:\n"
        "        for _ in range(20):\n"
        "            stream.write(sys.argv[2].encode() * 10000)\n"
        "            stream.flush()\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(file), letter]) for letter in "abcd"
    ]
    seen = set()
    while any(process.poll() is None for process in processes):
        if file.exists():
            content = file.read_text()
            assert (len(content), len(set(content))) == (200_000, 1)
            seen.add(content[0])
    assert [process.returncode for process in processes] == [0] * 4
    assert seen <= set("abcd")
    assert list(tmp_path.iterdir()) == [file]
