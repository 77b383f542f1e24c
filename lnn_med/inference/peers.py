"""Whom a head can be compared with, and where its volumes lie among them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lnn_med.errors import Finding, WarningCode
from lnn_med.inference.head import Segmented
from lnn_med.inference.percentiles import Person
from lnn_med.inference.runtime import Engine
from lnn_med.prediction import Reference
from lnn_med.transforms.standard_space import centroids_mm, to_standard_space
from lnn_med.volume import Volume

SUMMED = ("Hippocampus", "LateralVentricle")  # both sides together, among reference people
DRAWN = (5, 25, 50, 75, 95)  # percentile lines


def person_of(clinical: Mapping[str, float | str], icv_mm3: float, engine: Engine) -> Person | None:
    """Whom the bundle's reference people can be compared with; None where age or sex is unknown.

    They were measured at depth auto without a budget, so nothing else is compared with them.
    """
    age, sex = clinical.get("age"), clinical.get("sex")
    if not engine.bundle.percentiles.curves or not isinstance(age, (int, float)) or not isinstance(sex, str):
        return None
    if math.isnan(age):  # not known, as in a table
        return None
    if engine.config.depth != "auto" or engine.config.budget is not None:
        return None
    return Person(float(age), sex, icv_mm3)


def in_template_space(brain: Segmented, volume: Volume, engine: Engine) -> tuple[Finding, ...]:
    """A warning if the brain was brought into the size of the MNI template before it came here."""
    places = engine.bundle.percentiles.template_mm
    if not places:
        return ()
    found_mm = centroids_mm(brain.labels, volume.affine, 1 + max(engine.bundle.label_names))
    names = [engine.bundle.label_names.get(1 + n, "") for n in range(len(found_mm))]
    unknown = (math.nan,) * 3
    template_mm = np.array([places.get(name, unknown) for name in names])
    try:
        normalised = to_standard_space(found_mm, template_mm).is_identity
    except ValueError:  # too few structures; quality control says so
        normalised = False
    if not normalised:
        return ()
    text = (
        "The brain lies in the MNI template and is as large: the image seems to be normalised. Volumes in "
        "mm³ are then not those of the person, and no percentiles are given."
    )
    return (Finding(WarningCode.TEMPLATE, text),)


def percentiles_of(sizes: Mapping[str, float], person: Person | None, engine: Engine) -> dict[str, float]:
    """Percentile of each structure that has one."""
    if person is None:
        return {}
    known = engine.bundle.percentiles
    found = {name: known.percentile(name, size, person) for name, size in sizes.items()}
    return {name: value for name, value in found.items() if value is not None}


def reference_of(sizes: Mapping[str, float], person: Person | None, engine: Engine) -> Reference | None:
    """What the percentile plot shows."""
    if person is None:
        return None
    known = engine.bundle.percentiles
    curves = [known.reference(name, sizes[name], person, DRAWN) for name in SUMMED if name in sizes]
    return Reference(
        known.reference_people,
        known.people,
        known.ages,
        person.age,
        person.sex,
        tuple(curve for curve in curves if curve is not None),
    )
