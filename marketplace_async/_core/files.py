"""The files that the package writes: private, never written through a link, replaced at once.

- `create` makes a new file. It fails if anything has that name.
- `replacing` replaces a file as a whole. Readers see the old or the new content, never a part.
- `locked` lets one process at a time replace a file that depends on its old content.
- `check_output` and `check_distinct` reject a path with one sentence, before anything is written.

All functions block: on an event loop, call them in a thread.
"""

import errno
import io
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from .clocks import monotonic

# Mode of every new file: its owner can read and write it, nobody else can.
_PRIVATE: Final = 0o600
_FLAGS: Final = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
# The file system or the platform has no locks.
_NO_LOCKS: Final = {
    errno.ENOLCK,
    errno.ENOSYS,
    getattr(errno, "ENOTSUP", errno.ENOSYS),
    getattr(errno, "EOPNOTSUPP", errno.ENOSYS),
}
_POLL_SECONDS: Final = 0.02

_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_output(file: Path) -> bool:
    """Return whether `file` exists. It must be a regular file, or a new one in a directory of ours.

    Raises:
        OSError: `file` is a directory, a link, a pipe or a device, or its directory does not exist
            or cannot be written. The message is one sentence and says what to do.
    """
    try:
        status = file.lstat()
    except FileNotFoundError:
        _check_directory(file)
        return False
    except NotADirectoryError:
        raise NotADirectoryError(f"{file}: {file.parent} is not a directory") from None
    if stat.S_ISLNK(status.st_mode):
        with suppress(OSError):
            target = file.stat()
            # Say what /dev/stdout is: it is a link to a pipe or a device.
            if not stat.S_ISREG(target.st_mode):
                status = target
    if stat.S_ISREG(status.st_mode):
        return True
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a file")
    if stat.S_ISLNK(status.st_mode):
        raise OSError(
            f"{file} is {kind} to {os.readlink(file)}, and links are not written through: "
            "pass the path of the file itself"
        )
    raise OSError(f"{file} is {kind}: expected the path of a regular file")


def _check_directory(file: Path) -> None:
    if not file.parent.is_dir():
        raise FileNotFoundError(f"{file}: the directory {file.parent} does not exist: create it")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{file}: the directory {file.parent} cannot be written")


def check_distinct(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Reject an output that is also an input, under this name or another.

    Args:
        outputs: The files that will be written. They need not exist.
        inputs: The files that are read.

    Raises:
        OSError: An output is an input, directly or through a symbolic or hard link.
    """
    for output in outputs:
        for source in inputs:
            if _same(output, source):
                also = "" if output == source else f" is the same file as {source}, which"
                raise OSError(f"{output}{also} is an input of this job: pass another output")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        # One of them does not exist, and may be created later.
        return one.absolute() == other.absolute()


def create(file: Path) -> io.FileIO:
    """Create a file with mode 0600 and open it, unbuffered, for reading and writing.

    Raises:
        FileExistsError: Something has that name, even if it is a dangling link.
        OSError: The file cannot be created.
    """
    return io.FileIO(os.open(file, _FLAGS | _NO_FOLLOW | os.O_CREAT | os.O_EXCL, _PRIVATE), "rb+")


def reopen(file: Path) -> io.FileIO:
    """Open an existing regular file, unbuffered, for reading and writing. Links are not followed.

    Raises:
        OSError: The file does not exist, is not a regular file or cannot be opened.
    """
    check_output(file)
    return io.FileIO(os.open(file, _FLAGS | _NO_FOLLOW), "rb+")


def write_all(stream: io.FileIO, data: bytes) -> None:
    """Write all of `data`. Unlike a buffered stream, nothing is left to write if this fails."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) or 0 :]


@contextmanager
def replacing(file: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `file` when the block ends.

    Readers see either the old or the new content. The new file has mode 0600, and its content is
    on disk before the old file is replaced. A symbolic link is replaced, not followed: to keep a
    link, pass the path of its target. If the block raises, `file` is unchanged. The temporary file
    is `.NAME.new` in the same directory. If a process is killed, the next one deletes it.

    Raises:
        TimeoutError: Another process has been writing the file for 10 seconds.
        OSError: The file cannot be written, or is a directory, a pipe or a device.
    """
    if not file.is_symlink():
        check_output(file)
    temporary = _temporary(file)
    handle = _waiting(file, 10.0, lambda: _acquire_new(temporary))
    try:
        # On POSIX, the file is still locked while it takes its place.
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            if os.name == "posix":
                os.replace(temporary, file)
        if os.name != "posix":
            os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(file)


def remove(file: Path) -> None:
    """Delete a file that `replacing` writes, if it exists, and what a killed process left of it."""
    file.unlink(missing_ok=True)
    with suppress(OSError):
        _delete_stale(_temporary(file))


def _temporary(file: Path) -> Path:
    return file.with_name(f".{file.name}.new")


def _delete_stale(path: Path) -> None:
    """Delete a file unless another process has locked it: it was killed while it wrote the file."""
    stale = _acquire(path, 0)
    if stale is not None:
        _release(path, stale)


def sync_directory(file: Path) -> None:
    """Make the creation, replacement or deletion of `file` durable."""
    if os.name != "posix":
        return
    # Some file systems cannot sync directories. The content itself is on disk.
    with suppress(OSError):
        handle = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def locked(file: Path, *, timeout: float = 10.0) -> Iterator[None]:
    """Hold an exclusive lock between processes, for a block that reads and replaces `file`.

    The lock is a file `.NAME.lock` in the same directory. It is deleted afterwards. If a process is
    killed, the operating system releases its lock, and the next process deletes the lock file.
    On a file system without locks, nothing is locked.

    Args:
        file: The file to protect. It need not exist, but its directory must.
        timeout: Maximum wait in seconds; 0 for a single attempt.

    Raises:
        TimeoutError: Another process holds the lock.
        OSError: The lock file cannot be created.
    """
    path = file.with_name(f".{file.name}.lock")
    handle = _waiting(file, timeout, lambda: _acquire(path))
    try:
        yield
    finally:
        _release(path, handle)


def _waiting(file: Path, timeout: float, acquire: Callable[[], int | None]) -> int:
    """Return the handle that `acquire` returns as soon as no other process has one."""
    deadline = monotonic() + timeout
    while (handle := acquire()) is None:
        if monotonic() >= deadline:
            raise TimeoutError(f"{file}: another process is writing it; retry when it is done")
        time.sleep(_POLL_SECONDS)
    return handle


def _acquire_new(path: Path) -> int | None:
    """Return the handle of a new, locked file, or None if another process is writing this one."""
    with suppress(FileExistsError):
        return _acquire(path, os.O_CREAT | os.O_EXCL)
    if path.is_symlink():
        path.unlink(missing_ok=True)
        return None
    with suppress(FileNotFoundError):
        _delete_stale(path)
    return None


def _acquire(path: Path, flag: int = os.O_CREAT) -> int | None:
    """Return the handle of a locked file, or None if another process has locked it."""
    handle = os.open(path, _FLAGS | _NO_FOLLOW | flag, _PRIVATE)
    try:
        # A holder deletes or renames the file. A lock on it would protect nothing.
        if _lock(handle) and _is_at(path, os.fstat(handle)):
            return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _release(path: Path, handle: int) -> None:
    if os.name == "posix":
        # While it is locked: nobody else can have locked the file at this path.
        path.unlink(missing_ok=True)
        os.close(handle)
    else:
        os.close(handle)
        with suppress(OSError):  # an open file cannot be deleted: another process waits for it
            path.unlink(missing_ok=True)


def _is_at(path: Path, status: os.stat_result) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)


def _lock(handle: int) -> bool:
    """Lock an open file without waiting. Return whether it is locked now."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return True
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return True
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True
