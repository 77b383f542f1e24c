"""Frozen dataclasses are the configuration: the same class is the YAML file, the option and the argument."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lnn_med.errors import ConfigError

MAX_YAML_BYTES = 1_000_000  # a hand-written configuration has a few kilobytes; anchors can inflate

NUMBER = re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+", re.IGNORECASE)  # YAML 1.1 takes 1e-3 for text

ConfigT = TypeVar("ConfigT")


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping without running code in it.

    Raises:
        ConfigError: file missing, too large, not YAML, or not a mapping.
    """
    if not path.is_file():
        raise ConfigError(f"{path.name}: no such file.")
    size = path.stat().st_size
    if size > MAX_YAML_BYTES:
        raise ConfigError(f"{path.name}: {size} bytes; a configuration may have {MAX_YAML_BYTES}.")
    try:
        content = _parse(path.read_text(encoding="utf-8"), path.name)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name}: the file is not UTF-8 text.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name}: expected `key: value` lines at the top.")
    return content


def build(cls: type[ConfigT], values: Mapping[str, Any], where: str = "") -> ConfigT:
    """Make the dataclass `cls` from plain values; nested dataclasses and tuples are converted.

    Raises:
        ConfigError: unknown key (the nearest known one is named), missing key, or value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    known = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    arguments = {}
    for key, value in values.items():
        place = f"{where}{key}"
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f" Did you mean `{near[0]}`?" if near else f" Known keys: {', '.join(known)}."
            raise ConfigError(f"Unknown key `{place}`.{hint}")
        arguments[key] = _convert(hints[key], value, place)
    missing = [
        name
        for name, field in known.items()
        if name not in arguments
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"Missing key `{where}{missing[0]}`.")
    try:
        return cls(**arguments)
    except ValueError as error:
        raise ConfigError(f"{where.rstrip('.') or cls.__name__}: {error}") from error


def as_dict(config: Any) -> dict[str, Any]:
    """Plain values of a configuration, ready for YAML or JSON; `build` reads them back."""
    return {key: _plain(value) for key, value in dataclasses.asdict(config).items()}


def override(values: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply `a.b=value` assignments (YAML values) to nested plain values, returning new ones."""
    result = _plain(values)
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"`{assignment}` is not of the form key=value.")
        *parents, last = key.split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError(f"`{key}`: `{parent}` is a value, not a group of keys.")
        target[last] = _parse(text, f"`{key}`")
    return result


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Nested plain values of `base` under those of `change`; groups are merged, lists replaced."""
    result = _plain(base)
    for key, value in change.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), dict)
        result[key] = merge(result[key], value) if both else _plain(value)
    return result


def _parse(text: str, name: str) -> Any:
    """YAML without aliases, which can inflate, and without tags, which can run code."""
    try:
        if "&" in text and "*" in text and any(isinstance(t, yaml.AliasToken) for t in yaml.scan(text)):
            raise ConfigError(f"{name}: YAML aliases are not allowed; write the value out.")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML ({error}).") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: the YAML is nested too deeply.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _convert(kind: Any, value: Any, place: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(kind)
        if value is None and type(None) in options:
            return None
        errors: list[str] = []
        for option in options:
            if option is type(None):
                continue
            try:
                return _convert(option, value, place)
            except ConfigError as error:
                errors.append(str(error))
        raise ConfigError(errors[0])
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"`{place}` is {value!r}; a list is needed.")
        items = typing.get_args(kind)
        if len(items) == 2 and items[1] is Ellipsis:
            return tuple(_convert(items[0], item, f"{place}[{n}]") for n, item in enumerate(value))
        if len(items) != len(value):
            raise ConfigError(f"`{place}` has {len(value)} values; {len(items)} are needed.")
        return tuple(
            _convert(item_kind, item, f"{place}[{n}]")
            for n, (item_kind, item) in enumerate(zip(items, value, strict=True))
        )
    if origin in (dict, Mapping) or kind is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"`{place}` is {value!r}; `key: value` pairs are needed.")
        of = typing.get_args(kind)
        return {key: _convert(of[1], item, f"{place}.{key}") if of else item for key, item in value.items()}
    if origin is typing.Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise ConfigError(f"`{place}` is {value!r}; one of {', '.join(map(str, choices))} is needed.")
        return value
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if isinstance(value, kind):
            return value
        if not isinstance(value, Mapping):
            raise ConfigError(f"`{place}` is {value!r}; a group of keys is needed.")
        return build(kind, value, where=f"{place}.")
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str) and NUMBER.fullmatch(value):
        return float(value)
    if kind is Any:
        return value
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"`{place}` is {value!r}; a value of type {kind.__name__} is needed.")
    return value
