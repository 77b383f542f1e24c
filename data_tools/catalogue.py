"""The public data sets that we know: where they are, what they allow, how to check them.

The facts stand in `catalogue.yaml` beside this file.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from lnn_med import config
from lnn_med.errors import ConfigError

CATALOGUE = Path(__file__).with_name("catalogue.yaml")


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    `mirrors` are tried in order after `url`. Sizes and hashes are None where nobody publishes them.
    `unpack` is the folder inside the archive whose content is kept ("." for all); None: not unpacked.
    """

    url: str
    size_bytes: int | None
    sha256: str | None
    md5: str | None
    mirrors: tuple[str, ...] = ()
    unpack: str | None = None

    @property
    def name(self) -> str:
        """File name, as it stands at the end of the URL."""
        return PurePosixPath(urlparse(self.url).path).name

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses in the order of trial."""
        return (self.url, *self.mirrors)

    @property
    def hash_state(self) -> str:
        """Which published hash the first download is checked against: "sha256", "md5" or "not published"."""
        if self.sha256:
            return "sha256"
        return "md5" if self.md5 else "not published"


@dataclass(frozen=True)
class Dataset:
    """One data set. `registration` is the page where its terms are accepted; such a set has no files."""

    name: str
    title: str
    licence: str
    page: str
    citation: str
    notes: str
    files: tuple[RemoteFile, ...]
    registration: str | None = None

    @property
    def size_bytes(self) -> int | None:
        """Sum of the published sizes, None when one of them is unknown."""
        sizes = [file.size_bytes for file in self.files if file.size_bytes is not None]
        return sum(sizes) if sizes and len(sizes) == len(self.files) else None


def load_catalogue(path: Path = CATALOGUE) -> dict[str, Dataset]:
    """All data sets by name.

    Raises:
        ConfigError: an entry has an unknown or missing key or a value of the wrong type.
    """
    entries = config.load_yaml(path)
    return {
        name: config.build(Dataset, {"name": name, **entry}, where=f"{name}.")
        for name, entry in entries.items()
    }


def find(name: str, path: Path = CATALOGUE) -> Dataset:
    """The data set of that name.

    Raises:
        ConfigError: there is none; the message names the nearest and all others.
    """
    datasets = load_catalogue(path)
    if name in datasets:
        return datasets[name]
    near = difflib.get_close_matches(name, datasets, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ConfigError(f"No data set is called {name!r}.{hint} Known: {', '.join(sorted(datasets))}.")
