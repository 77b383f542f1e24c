"""Configuration: what a YAML file may say, and how it is told that it may not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from lnn_med.config import MAX_YAML_BYTES, as_dict, build, load_yaml, override
from lnn_med.errors import Code, ConfigError


@dataclass(frozen=True)
class Schedule:
    steps: int
    learning_rate: float = 1e-3
    optimizer: Literal["adamw", "sgd"] = "adamw"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError("steps must be at least 1")


@dataclass(frozen=True)
class Label:
    name: str
    sources: tuple[int, ...] = ()


@dataclass(frozen=True)
class Run:
    name: str
    schedule: Schedule
    window: tuple[int, int, int] = (1, 2, 3)
    labels: tuple[Label, ...] = ()
    box: tuple[int, int] | None = None
    depth: str | int = "auto"
    bf16: bool = True
    about: dict[str, Any] = field(default_factory=dict)


MINIMAL = {"name": "a", "schedule": {"steps": 5}}


def test_values_become_dataclasses_tuples_and_floats() -> None:
    found = build(
        Run,
        {
            "name": "a",
            "schedule": {"steps": 5, "learning_rate": 1, "optimizer": "sgd"},
            "window": [4, 5, 6],
            "labels": [{"name": "x", "sources": [1, 2]}, {"name": "y"}],
            "box": [7, 8],
            "depth": 3,
            "about": {"any": ["thing"]},
        },
    )
    assert found == Run(
        "a",
        Schedule(5, 1.0, "sgd"),
        (4, 5, 6),
        (Label("x", (1, 2)), Label("y")),
        (7, 8),
        3,
        True,
        {"any": ["thing"]},
    )
    assert isinstance(found.schedule.learning_rate, float)


def test_plain_values_build_the_same_again() -> None:
    first = build(Run, MINIMAL | {"labels": [{"name": "x", "sources": [1]}], "box": [1, 2]})
    assert build(Run, as_dict(first)) == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": "b"}, "Unknown key `nmae`. Did you mean `name`?"),
        ({"schedule": {"stepz": 1}}, "Unknown key `schedule.stepz`. Did you mean `steps`?"),
        ({"zzzzzz": 1}, "Known keys: name, schedule"),
        ({7: 1}, "Unknown key `7`"),
        ({"schedule": {}}, "Missing key `schedule.steps`"),
        ({"schedule": 3}, "`schedule` is 3; a group of keys is needed"),
        ({"schedule": None}, "`schedule` is None"),
        ({"schedule": {"steps": 0}}, "schedule: steps must be at least 1"),
        ({"schedule": {"steps": 1.5}}, "`schedule.steps` is 1.5; a value of type int"),
        ({"schedule": {"steps": True}}, "`schedule.steps` is True"),
        ({"schedule": {"steps": "5"}}, "`schedule.steps` is '5'"),
        ({"schedule": {"steps": 5, "learning_rate": "fast"}}, "`schedule.learning_rate` is 'fast'"),
        ({"schedule": {"steps": 5, "optimizer": "adam"}}, "one of adamw, sgd is needed"),
        ({"name": 3}, "`name` is 3"),
        ({"bf16": 1}, "`bf16` is 1"),
        ({"window": [1, 2]}, "`window` has 2 values; 3 are needed"),
        ({"window": "abc"}, "`window` is 'abc'; a list is needed"),
        ({"window": [1, "x", 3]}, r"`window[1]` is 'x'"),
        ({"labels": [{"name": "x", "sources": ["y"]}]}, r"`labels[0].sources[0]` is 'y'"),
        ({"box": [1]}, "`box` has 1 values"),
        ({"depth": 1.5}, "`depth` is 1.5"),
        ({"about": [1]}, "`about` is [1]; `key: value` pairs"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_needed(change: dict, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(Run, MINIMAL | change)
    assert message in str(refused.value)
    assert refused.value.code is Code.CONFIG


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("2.5E+2", 250.0), ("-1e0", -1.0)])
def test_exponents_that_yaml_takes_for_text_are_numbers(text: str, value: float) -> None:
    found = build(Run, override(MINIMAL, [f"schedule.learning_rate={text}"]))
    assert found.schedule.learning_rate == value


def test_assignments_reach_into_groups_and_leave_the_original_alone() -> None:
    values = {"name": "a", "schedule": {"steps": 5}}
    found = override(values, ["schedule.steps=7", "window=[4, 5, 6]", "about.licence.name=CC", "name=b=c"])
    assert found == {
        "name": "b=c",
        "schedule": {"steps": 7},
        "window": [4, 5, 6],
        "about": {"licence": {"name": "CC"}},
    }
    assert values == {"name": "a", "schedule": {"steps": 5}}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("steps", "`steps` is not of the form key=value"),
        ("name.first=1", "`name` is a value, not a group of keys"),
        ("name=[1", "`name`: not valid YAML"),
        ("name=!!python/name:os.system", "`name`: not valid YAML"),
        ("about=[&a 1, *a]", "`about`: YAML aliases are not allowed"),
    ],
)
def test_an_assignment_that_cannot_be_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        override(MINIMAL, [assignment])
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system ['touch canary']", "not valid YAML"),
        ("a: !!python/name:os.system", "not valid YAML"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("a: [1", "not valid YAML"),
        ("a: '&' \nb: \"*", "not valid YAML"),  # broken while it is searched for aliases
        ("- 1\n- 2", "expected `key: value` lines"),
        ("", "expected `key: value` lines"),
        ("a: " + "[" * 600, "nested too deeply"),
        ("a: '" + "x" * MAX_YAML_BYTES + "'", "a configuration may have"),
    ],
)
def test_a_file_that_is_no_plain_mapping_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"^run\.yaml: ") as refused:
        load_yaml(tmp_path / "run.yaml")
    assert message in str(refused.value)
    assert not (tmp_path / "canary").exists()


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_yaml(tmp_path / "run.yaml")
    with pytest.raises(ConfigError, match="no such file"):
        load_yaml(tmp_path / "other.yaml")


def test_signs_of_aliases_within_text_are_fine(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("licence: 'A & B'\nsize: '2 * 3'\n", encoding="utf-8")
    assert load_yaml(tmp_path / "run.yaml") == {"licence": "A & B", "size": "2 * 3"}
