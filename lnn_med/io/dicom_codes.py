"""What each structure that we name is called in the code systems of DICOM: the only table of these codes.

Structures: PS3.16 CID 7140 "Brain Structure for Volumetric Measurement" and CID 7153 "CNS Segmentation Types"
(SNOMED CT, scheme designator SCT). What has no public code gets one of our own scheme, 99LNNMED, and never
the public code of something similar.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from pydicom.sr.coding import Code

PRIVATE_SCHEME = "99LNNMED"
MAX_CODE, MAX_MEANING = 16, 64  # characters of CodeValue (SH) and CodeMeaning (LO)


@dataclass(frozen=True)
class Anatomy:
    """What a label stands for.

    `kind` is the structure or the tissue, `region` the lobe where `kind` alone does not say it, `side` left
    or right, `parts` narrow it down further (anterior, deep).
    """

    kind: Code
    region: Code | None = None
    side: Code | None = None
    parts: tuple[Code, ...] = ()


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


def _own(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


ANATOMICAL_STRUCTURE = _sct("91723000", "Anatomical Structure")  # CID 7150
LEFT, RIGHT = _sct("7771000", "Left"), _sct("24028007", "Right")
SIDES = {"L": LEFT, "R": RIGHT}
ANTERIOR, POSTERIOR = _sct("255549009", "Anterior"), _sct("255551008", "Posterior")
VOLUME = _sct("118565006", "Volume")
INTRACRANIAL = _sct("128319008", "Intracranial structure")
BRAIN = _sct("12738006", "Brain")

# Limits of an interval have codes of their own, so that no reader takes one for the volume.
INTERVAL_LOW = _own("INTERVAL_LOW", "Volume, lower limit of the interval")
INTERVAL_HIGH = _own("INTERVAL_HIGH", "Volume, upper limit of the interval")
INTERVAL_COVERAGE = _own("INTERVAL_COVERAG", "Nominal coverage of the interval")
EXECUTED_BLOCKS = _own("EXECUTED_BLOCKS", "Residual blocks executed")
EVIDENCE_LOG_ODDS = _own("EVIDENCE_LOGODDS", "Network evidence for CDR > 0, log-odds of a place")
LABEL_ENTROPY = _own("LABEL_ENTROPY", "Entropy of the label probabilities")

# Outcome of quality control: CID 6044 "Usable" and so on.
QUALITY = Code("111050", "DCM", "Quality Assessment")
QUALITY_OUTCOMES = {
    "pass": Code("111237", "DCM", "Usable - Meets the quality control standard"),
    "review": Code("111236", "DCM", "Usable - Does not meet the quality control standard"),
    "fail": Code("111235", "DCM", "Unusable - Quality renders image unusable"),
}

_GREY, _WHITE = _sct("40146001", "Cerebral Gray Matter"), _sct("68523003", "Cerebral White Matter")
_LOBES = {
    "Frontal": _sct("83251001", "Frontal lobe"),
    "Limbic": _sct("279215006", "Limbic lobe"),
    "Occipital": _sct("31065004", "Occipital lobe"),
    "Parietal": _sct("16630005", "Parietal lobe"),
    "Temporal": _sct("78277001", "Temporal lobe"),
}
_PARTS = {"Anterior": ANTERIOR, "Posterior": POSTERIOR}
# Names without side and part, as in the DLMUSE dictionary.
_STRUCTURES = {
    "Hippocampus": Anatomy(_sct("5366008", "Hippocampus")),
    "Amygdala": Anatomy(_sct("4958002", "Amygdala")),
    "ThalamusProper": Anatomy(_sct("119406000", "Thalamus")),
    "Caudate": Anatomy(_sct("11000004", "Caudate Nucleus")),
    "Putamen": Anatomy(_sct("89278009", "Putamen")),
    "Pallidum": Anatomy(_sct("14738005", "Globus Pallidus")),
    "AccumbensArea": Anatomy(_sct("427667007", "Nucleus Accumbens")),
    "LateralVentricle": Anatomy(_sct("66720007", "Lateral Ventricle")),
    "InfLatVentricle": Anatomy(_sct("53118009", "Inferior Horn of Lateral Ventricle")),
    "VentralDC": Anatomy(Code("110700", "DCM", "Ventral Diencephalon")),
    "3rdVentricle": Anatomy(_sct("49841001", "Third ventricle")),
    "4thVentricle": Anatomy(_sct("35918002", "Fourth Ventricle")),
    "BrainStem": Anatomy(_sct("119238007", "Brain Stem")),
    "CerebellumExterior": Anatomy(_sct("25991003", "Cerebellar Cortex")),
    "Cerebellum_WM": Anatomy(_sct("33060004", "Cerebellar White Matter")),
    "CerebellarVermis": Anatomy(_sct("113305005", "Cerebellum"), parts=(_own("VERMIS", "Vermis"),)),
    "DeepWhiteMatter": Anatomy(_WHITE, parts=(_own("DEEP", "Deep"),)),
    "CorpCall": Anatomy(_sct("88442005", "Corpus callosum")),
    "CSF": Anatomy(_sct("280371009", "Brain cerebrospinal fluid pathway")),
    **{f"{name}_GM": Anatomy(_GREY, lobe) for name, lobe in _LOBES.items()},
    **{f"{name}_WM": Anatomy(_WHITE, lobe) for name, lobe in _LOBES.items()},
}
# Measures of a whole scan that have a public code: concept, and what it is measured of.
_WHOLE = {"icv_mm3": (VOLUME, INTRACRANIAL)}


def anatomy(name: str) -> Anatomy:
    """The codes of a structure by our name ("Hippocampus_L_Anterior"); one of our own for an unknown name."""
    words = name.split("_")
    side = next((SIDES[word] for word in words if word in SIDES), None)
    parts = tuple(_PARTS[word] for word in words if word in _PARTS)
    base = "_".join(word for word in words if word not in SIDES and word not in _PARTS)
    known = _STRUCTURES.get(base) or Anatomy(own_code(base or name))
    return Anatomy(known.kind, known.region, side, (*known.parts, *parts))


def is_known(name: str) -> bool:
    """Whether the structure has a place in the table."""
    return anatomy(name).kind.scheme_designator != PRIVATE_SCHEME


def measure(name: str) -> tuple[Code, Code]:
    """Concept, and what it is measured of, for a derived number such as "icv_mm3"."""
    return _WHOLE.get(name) or (own_code(name), BRAIN)


def own_code(name: str) -> Code:
    """A code of our own scheme for a name; a long name is shortened to a hash of itself."""
    value = re.sub(r"[^A-Z0-9_]", "_", name.upper())
    if len(value) > MAX_CODE:
        value = hashlib.sha256(name.encode()).hexdigest()[:MAX_CODE].upper()
    return _own(value, name[:MAX_MEANING])
