"""The cache folder: where it is, and that nothing is kept where others could have written."""

from pathlib import Path

import pytest

from vstats.kernels import cache


def test_the_folder_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VSTATS_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache.folder() == tmp_path / "home" / ".cache" / "vstats"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "vstats"
    monkeypatch.setenv("VSTATS_CACHE_DIR", str(tmp_path / "own"))
    found = cache.folder()
    assert found == tmp_path / "own"
    assert found.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_write_or_nobody_can_make_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (tmp_path / "file").touch()
    for place in (shared, tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("VSTATS_CACHE_DIR", str(place))
        assert cache.folder() is None
