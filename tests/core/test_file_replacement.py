"""Atomic file replacement."""

import os
import stat
from pathlib import Path

import pytest

from marketplace_async._core.files import replacing


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
