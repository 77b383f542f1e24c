"""The command `lnn-med view`: what it refuses before anything starts, and what it tells Streamlit."""

from __future__ import annotations

import signal
import warnings
from pathlib import Path

import pytest

pytest.importorskip("streamlit")

from app.security import content_security_policy
from app.server import streamlit_options
from app.settings import Settings
from lnn_med import cli


def run(*arguments: object) -> int:
    """The exit code of `lnn-med ARGUMENTS`; signals are left as they were."""
    stop = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            return cli.run_command([str(argument) for argument in arguments])
    finally:
        signal.signal(signal.SIGTERM, stop)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--auth", "ldap"), "ldap"),
        (("--auth", "oidc"), "--access"),
        (("--runs", "no/such/folder"), "--runs"),
        (("--port", "0"), "--port"),
    ],
)
def test_wrong_options_are_refused(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("view", *arguments) == 3
    assert said in capsys.readouterr().err


def test_a_login_without_its_provider_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "access.yaml").write_text("users: {ann: {role: reader}}\n")
    assert run("view", "--auth", "oidc", "--access", tmp_path / "access.yaml") == 3
    assert "secrets.toml" in capsys.readouterr().err


def test_the_server_is_private_and_silent_by_default() -> None:
    options = streamlit_options(Settings())
    assert options["server.address"] == "127.0.0.1"
    assert options["browser.serverAddress"]  # else Streamlit asks an outside service for its address
    assert options["browser.gatherUsageStats"] is False
    assert options["server.enableXsrfProtection"]
    assert options["server.enableCORS"]
    assert not options["server.enableStaticServing"]


def test_every_option_is_one_that_this_streamlit_knows() -> None:
    from streamlit import config

    assert not set(streamlit_options(Settings())) - set(config._config_options_template)


def test_the_policy_names_no_other_host() -> None:
    policy = content_security_policy()
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    assert "'sha256-" in policy


def test_scripts_of_the_components_name_no_other_host() -> None:
    for script in Path(__file__).resolve().parents[2].glob("app/*_component/*.js"):
        assert "://" not in script.read_text(encoding="utf-8"), script.name
