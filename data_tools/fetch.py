"""A data set from the catalogue into one folder: downloaded, verified, unpacked, whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from data_tools.catalogue import Dataset
from data_tools.download import Fetched, Progress, Settings, download
from data_tools.hashes import check_sums, write_sums
from data_tools.unpack import unpack
from lnn_med.errors import Code, InputError

RECORD = "DATASET.json"  # where the files come from and what they allow


@dataclass(frozen=True)
class Outcome:
    """What a fetch ended with. `fetched` is empty when the folder was already complete."""

    folder: Path
    files: int
    fetched: tuple[Fetched, ...]


def fetch(
    dataset: Dataset, into: Path, settings: Settings = Settings(), progress: Progress | None = None
) -> Outcome:
    """Bring `dataset` into the folder `into`.

    Downloads and unpacking happen in INTO.partial, and an interrupted fetch goes on there.

    Raises:
        InputError: E_TERMS (the data set is given out after registration only), E_STORAGE (`into` holds
            something else), E_HASH (`into` is damaged), and those of `download` and `unpack`.
    """
    if not dataset.files:
        message = f"{dataset.name} is given out after registration: {dataset.registration or dataset.page}."
        raise InputError(Code.TERMS, f"{message} {dataset.notes}")
    if into.exists():
        return Outcome(into, _check_complete(dataset, into), ())
    partial = into.with_name(f"{into.name}.partial")
    content = partial / "content"
    shutil.rmtree(content, ignore_errors=True)  # half unpacked in an earlier run
    fetched = []
    for remote in dataset.files:
        got = download(remote, partial, settings, progress)
        fetched.append(got)
        if remote.unpack is None:
            content.mkdir(exist_ok=True)
            shutil.copy2(got.path, content / remote.name)
        else:
            _unpack_or_forget(got.path, content, remote.unpack)
    _write_record(dataset, fetched, content)
    files = write_sums(content)
    content.rename(into)
    shutil.rmtree(partial)
    return Outcome(into, files, tuple(fetched))


def _check_complete(dataset: Dataset, into: Path) -> int:
    record = into / RECORD
    if not record.is_file() or json.loads(record.read_text(encoding="utf-8")).get("name") != dataset.name:
        message = f"{into.name} exists and is not {dataset.name}; name another folder with -o."
        raise InputError(Code.STORAGE, message)
    found = check_sums(into)
    if not found.is_intact:
        message = f"{into.name}: {len(found.missing)} files missing, {len(found.changed)} changed."
        raise InputError(Code.HASH, f"{message} Remove the folder first.")
    return found.checked


def _unpack_or_forget(archive: Path, into: Path, inside: str) -> None:
    """A refused archive is removed, so that it cannot be met under its final name."""
    try:
        unpack(archive, into, inside)
    except InputError:
        archive.unlink()
        shutil.rmtree(into, ignore_errors=True)
        raise


def _write_record(dataset: Dataset, fetched: list[Fetched], folder: Path) -> None:
    record = {
        "name": dataset.name,
        "title": dataset.title,
        "licence": dataset.licence,
        "page": dataset.page,
        "citation": dataset.citation,
        "fetched_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": [{**asdict(got), "path": got.path.name} for got in fetched],
    }
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")
