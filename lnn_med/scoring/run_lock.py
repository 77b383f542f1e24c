"""One process at a time works on a run: its folder is made and locked; the system frees a dead one's lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lnn_med.errors import Code, ConfigError, InputError

LOCK_FILE = ".lock"


@contextmanager
def made_and_locked(run: Path) -> Iterator[None]:
    """Make the folder of the run and keep other processes out.

    Raises:
        InputError: E_STORAGE.
        ConfigError: another process works on the run.
    """
    import fcntl

    try:
        run.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(Code.STORAGE, f"The run's folder cannot be written ({error.strerror}).") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                "Another process works on this run; wait for it or choose another -o."
            ) from error
        yield
    finally:
        os.close(descriptor)


def is_locked(run: Path) -> bool:
    """Whether a process works on the run now."""
    import fcntl

    try:
        descriptor = os.open(run / LOCK_FILE, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
