"""Codes of structures: one for each, public ones with the words of their scheme."""

from __future__ import annotations

import pytest
from pydicom.sr import _concepts_dict

from lnn_med.inference.bundle import load_bundle
from lnn_med.inference.bundle_files import list_bundles
from lnn_med.inference.classifier_bundle import is_classifier
from lnn_med.io.dicom_codes import LEFT, PRIVATE_SCHEME, RIGHT, anatomy, is_known


@pytest.mark.parametrize("bundle", [name for name in list_bundles() if not is_classifier(name)])
def test_every_label_of_the_shipped_bundles_has_a_code(bundle):
    for label in load_bundle(bundle).info.labels:
        assert is_known(label.name), label.name
        expected = {"L": LEFT, "R": RIGHT, None: None}[label.side]
        assert anatomy(label.name).side == expected


def test_public_codes_have_the_words_of_their_scheme(shipped_bundles):
    """Against the tables that pydicom makes from the standard: a wrong digit would name another organ."""
    bundles = [load_bundle(name) for name in list_bundles() if not is_classifier(name)]
    names = [label.name for bundle in bundles for label in bundle.info.labels]
    codes = {code for name in names for code in codes_of(anatomy(name))}
    assert len(codes) > 25
    for code in codes:
        if code.scheme_designator != PRIVATE_SCHEME:
            entries = _concepts_dict.concepts[code.scheme_designator].values()
            meanings = {entry[code.value][0].casefold() for entry in entries if code.value in entry}
            assert code.meaning.casefold() in meanings, code


def codes_of(meant):
    return [code for code in (meant.kind, meant.region, meant.side, *meant.parts) if code]


def test_unknown_structure_gets_a_code_of_our_own_scheme():
    code = anatomy("Claustrum_of_a_Very_Long_Name_L").kind
    assert code.scheme_designator == PRIVATE_SCHEME
    assert len(code.value) <= 16
    assert anatomy("Claustrum_of_a_Very_Long_Name_L").side == LEFT
