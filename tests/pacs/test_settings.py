"""Addresses and YAML files of archives: what is understood, and what is refused with the rule."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from lnn_med.errors import ConfigError, LnnMedError
from lnn_med.pacs.archive import check_match, open_archive
from lnn_med.pacs.settings import Limits, PacsConfig, read_settings


def test_short_addresses() -> None:
    web = read_settings("https://pacs.example.org/dicom-web")
    assert web.url == "https://pacs.example.org/dicom-web"
    dimse = read_settings("dicom://ARCHIVE@10.1.2.3:11112")
    assert (dimse.ae_title, dimse.host, dimse.port) == ("ARCHIVE", "10.1.2.3", 11112)
    assert read_settings("dicom://A@[::1]:104").host == "::1"


def test_a_file_says_everything(tmp_path: Path) -> None:
    path = tmp_path / "pacs.yaml"
    path.write_text(
        "host: 10.1.2.3\nport: 11112\nae_title: ARCHIVE\nretrieve: move\n"
        "listen: {calling_ae_titles: [ARCHIVE], addresses: [10.1.2.3, 10.9.0.0/16], port: 0}\n"
        "limits: {instances: 5}\nwatch: {quiet_s: 5}\n"
    )
    config = read_settings(str(path))
    assert config.listen is not None
    assert config.listen.addresses == ("10.1.2.3", "10.9.0.0/16")
    assert config.listen.address == "127.0.0.1"  # of this machine only, unless said otherwise
    assert (config.limits.instances, config.watch.quiet_s) == (5, 5.0)


WRONG = [
    ("url: http://pacs.example.org/dicom-web", "unencrypted"),
    ("url: https://me:secret@pacs.example.org/", "logged"),
    ("url: ftp://pacs.example.org/", "https://host:port"),
    ("url: https://pacs/x?y=1", "https://host:port"),
    ("url: https://pacs/\nhost: x", "either"),
    ("ae_title: X", "either"),
    ("host: x\nae_title: THIS_IS_MUCH_TOO_LONG", "ae_title"),
    ("host: x\nour_ae_title: 'A\\B'", "our_ae_title"),
    ("host: x\nretrieve: move", "needs `listen`"),
    ("host: x\nretrieve: mvoe", "one of get, move"),
    ("host: x\nport: 0", "port"),
    ("host: x\nlisten: {calling_ae_titles: []}", "empty"),
    ("host: x\nlisten: {calling_ae_titles: [A], addresses: [10.1.2.0/40]}", "10.1.2.0/40"),
    ("host: x\nlisten: {calling_ae_titles: [A], pdu_bytes: 99999999}", "pdu_bytes"),
    ("host: x\nlisten: {calling_ae_titles: [A], tls: {}}", "certificate"),
    ("host: x\ntls: {ca_file: /no/such/file}", "no file"),
    ("host: x\nlimits: {instances: 0}", "above 0"),
    ("host: x\nlimts: {}", "limits"),
]


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[row[0].replace("\n", "; ") for row in WRONG])
def test_wrong_settings_are_refused_with_the_rule(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "pacs.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_settings(str(path))


@pytest.mark.parametrize(
    "address", ["dicom://host:104", "dicom://A@host", "dicom://A@host:104/x", "dicom://"]
)
def test_addresses_that_lack_a_part_are_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="dicom://AE_TITLE@host:port"):
        read_settings(address)


MATCHES = [
    ({"PatientComments": "x"}, "cannot be asked for"),
    ({"StudyDescription": "x" * 65}, "1 to 64"),
    ({"StudyDescription": ""}, "1 to 64"),
    ({"StudyDescription": "a\\b"}, "printable"),
    ({"StudyDescription": "a\nb"}, "printable"),
    ({"StudyInstanceUID": "../x"}, "no UID"),
]


@pytest.mark.parametrize(("match", "words"), MATCHES)
def test_keys_and_values_of_a_query_are_checked(match: dict[str, str], words: str) -> None:
    with pytest.raises(LnnMedError, match=words):
        check_match(match)


def test_the_limits_in_the_documentation_are_those_of_the_code(repository: Path) -> None:
    text = (repository / "docs" / "pacs.md").read_text()
    rows = dict(re.findall(r"^\| `limits\.(\w+)` \| ([^|]+) \|", text, re.MULTILINE))
    units = {"": 1, "s": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    said = {}
    for name, value in rows.items():
        number, _, unit = value.strip().partition(" ")
        said[name] = int(number.replace(",", "")) * units[unit]
    assert said == asdict(Limits())


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    with pytest.raises(LnnMedError, match=r"pynetdicom is not installed.*lnn-med\[pacs\]"):
        open_archive(PacsConfig(host="127.0.0.1"))
