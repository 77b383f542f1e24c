"""Who may do what: roles and studies from a file, the user's name from st.login or a trusted proxy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lnn_med.errors import ConfigError

READER, ADMIN = "reader", "admin"
ALL_STUDIES = "*"


@dataclass(frozen=True)
class Person:
    """A user, with the studies (folders of runs) that they may open."""

    name: str
    role: str = READER
    studies: tuple[str, ...] = ()

    def may_open(self, study: str) -> bool:
        """Whether the runs of this study are shown; an admin sees all."""
        return self.role == ADMIN or ALL_STUDIES in self.studies or study in self.studies


LOCAL = Person("local user", ADMIN, (ALL_STUDIES,))


@dataclass(frozen=True)
class Access:
    """Known people by name; names are compared without regard to case."""

    people: Mapping[str, Person] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> Access:
        """`users: {name: {role: reader|admin, studies: [name, ...]}}` from YAML; empty without a file.

        Raises:
            ConfigError: the file is missing, or says something else.
        """
        if path is None:
            return cls()
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"--access: the file cannot be read ({type(error).__name__}).") from error
        users = content.get("users") if isinstance(content, dict) else None
        if not isinstance(users, dict):
            raise ConfigError("--access: the file needs `users:` with a name, role and studies for each.")
        return cls({str(name).casefold(): _person(str(name), entry) for name, entry in users.items()})

    def person(self, name: str | None) -> Person | None:
        """The person of this name; None when unknown: who is not listed may do nothing."""
        return self.people.get(name.casefold()) if name else None


def _person(name: str, entry: Any) -> Person:
    entry = entry or {}
    unknown = set(entry) - {"role", "studies"} if isinstance(entry, dict) else {"this"}
    if unknown:
        raise ConfigError(f"--access: unknown key {sorted(unknown)[0]!r}; role and studies are known.")
    role = entry.get("role", READER)
    if role not in (READER, ADMIN):
        raise ConfigError(f"--access: role is {role!r}; it must be {READER} or {ADMIN}.")
    return Person(name, role, tuple(str(study) for study in entry.get("studies") or ()))
