"""The folder in which this user's compiled kernels and passed proofs are kept from run to run."""

import os
import stat
from pathlib import Path


def folder() -> Path | None:
    """Return the cache folder, made where it is not there; None where there is none to write to or to trust.

    It is ``$VSTATS_CACHE_DIR``, else ``$XDG_CACHE_HOME/vstats``, else ``~/.cache/vstats``. What others could have written
    is not read: the folder must belong to this user, and nobody else may write to it.
    """
    try:
        path = _named()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = path.stat()
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        return None
    mine = facts.st_uid == os.geteuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return path if mine and os.access(path, os.W_OK | os.X_OK) else None


def _named() -> Path:
    if own := os.environ.get("VSTATS_CACHE_DIR"):
        return Path(own).absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "vstats"
