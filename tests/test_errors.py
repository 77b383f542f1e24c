"""What a failed task may say: its code, and words only of errors that are ours."""

from __future__ import annotations

import errno

import pytest

from lnn_med.errors import Code, ConfigError, InputError, LnnMedError, described

SECRET = "ZZCANARY^JOHN"
FAILURES = [
    (InputError(Code.SERIES, "Two series fit."), Code.SERIES, "Two series fit."),
    (ConfigError("No bundle is installed."), Code.CONFIG, "No bundle is installed."),
    (LnnMedError("No extra."), Code.CONFIG, "No extra."),
    (MemoryError(SECRET), Code.RESOURCE, "The memory is full."),
    (RuntimeError(f"CUDA out of memory {SECRET}"), Code.RESOURCE, "The memory is full."),
    (OSError(errno.ENOSPC, "No space left on device", SECRET), Code.STORAGE, "No space left on device"),
    (OSError(errno.EIO, "Input/output error", SECRET), Code.INTERNAL, "OSError in test_errors.py, line"),
    (KeyError(SECRET), Code.INTERNAL, "KeyError in test_errors.py, line"),
]


@pytest.mark.parametrize(("error", "code", "words"), FAILURES, ids=lambda value: type(value).__name__)
def test_a_failure_has_a_code_and_never_the_words_of_foreign_errors(
    error: Exception, code: Code, words: str
) -> None:
    with pytest.raises(type(error)) as caught:
        raise error
    found, message = described(caught.value)
    assert found is code
    assert words in message
    assert SECRET not in message
