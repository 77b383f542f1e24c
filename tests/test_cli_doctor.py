"""The doctor and the list of bundles."""

from __future__ import annotations

import json

import pytest

from lnn_med import allocator, doctor
from lnn_med.errors import Code, InputError
from lnn_med.inference import bundle_files, classifier_bundle
from tests.cli_runner import run


@pytest.fixture
def quick(monkeypatch):
    """A smaller measurement: its value is not looked at here."""
    monkeypatch.setattr(doctor, "CHECK_EDGE", 8)


@pytest.fixture
def broken_bundle(monkeypatch):
    def refuse(name):
        raise InputError(Code.MODEL, f"{name}: weights.safetensors does not match SHA256SUMS.")

    monkeypatch.setattr(bundle_files, "list_bundles", lambda: ["hippocampus-t1"])
    monkeypatch.setattr(classifier_bundle, "load_any", refuse)


def test_facts_fit_this_machine(quick):
    facts = json.loads(json.dumps(doctor.examine(), allow_nan=False))
    assert facts["cpu"]["cores_usable"] >= 1
    assert facts["memory_gb"]["available"] <= facts["memory_gb"]["total"]
    assert set(facts["measured_ms"]) == {"conv_fp32", "conv_bf16"}
    assert all(value > 0 for value in facts["measured_ms"].values())
    assert facts["choice"]["device"] in ("cpu", "cuda")
    assert facts["choice"]["reason"]


def test_command_shows_each_fact_and_json_holds_the_same(quick, capsys, monkeypatch):
    monkeypatch.setattr(bundle_files, "list_bundles", lambda: [])
    assert run("doctor") == 0
    shown = capsys.readouterr().out
    for word in ("processor", "memory", "CUDA", "one convolution", "chosen", "because", "No bundle"):
        assert word in shown
    assert run("doctor", "--json") == 0
    assert json.loads(capsys.readouterr().out)["bundles"] == []


def test_broken_bundle_is_named_and_exits_2(quick, broken_bundle, capsys):
    for command in ("doctor", "bundles"):
        assert run(command) == 2
        shown = capsys.readouterr().out
        assert "hippocampus-t1" in shown
        assert "E_MODEL" in shown.replace("\n", "")


def test_features_are_read_from_cpuinfo(monkeypatch):
    text = [
        "processor : 0",
        "model name : Test CPU",
        "flags : fpu avx2 avx512_bf16 amx_int8",
        "",
        "processor : 1",
    ]
    monkeypatch.setattr(doctor, "_lines", lambda path: text if path == "/proc/cpuinfo" else [])
    facts = doctor.cpu_facts()
    assert facts["model"] == "Test CPU"
    assert facts["features"] == ["avx2", "avx512_bf16", "amx_int8"]


@pytest.mark.parametrize(
    ("limit", "available"),
    [("max", 8.0), (str(4 * 2**30), 4.0), (None, 8.0)],
    ids=["no limit", "limit of a container", "no cgroup"],
)
def test_memory_respects_a_container(limit, available, monkeypatch):
    files = {"/proc/meminfo": ["MemTotal: 16777216 kB", "MemAvailable: 8388608 kB"]}
    if limit is not None:
        files["/sys/fs/cgroup/memory.max"] = [limit]
    monkeypatch.setattr(doctor, "_lines", lambda path: files.get(path, []))
    assert doctor.memory_gb()["available"] == available


def test_little_memory_is_advised_against():
    facts = {
        "measured_ms": {"conv_fp32": 10.0, "conv_bf16": 20.0},
        "choice": {"device": "cpu", "dtype": "bf16"},
        "memory_gb": {"available": 1.0},
        "packages": {"openvino": None},
        "bundles": [],
    }
    said = " ".join(doctor.advice(facts))
    for words in ("bf16 is slower", "1.0 GB", "OpenVINO", "No bundle"):
        assert words in said


def test_allocator_leaves_the_users_settings_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "7")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert allocator.keep_memory() is False
    import os

    assert os.environ["MALLOC_MMAP_MAX_"] == "7"
    assert os.environ["OMP_WAIT_POLICY"] == "active"


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.setattr(allocator.os, "confstr", lambda name: None)
    assert allocator.keep_memory() is False
