"""The options that several commands share, and the checks that a type alone cannot make."""

from __future__ import annotations

from typing import Annotated

import typer

from lnn_med.errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, for machines.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log each step on stderr.")]

Bundle = Annotated[
    list[str] | None,
    typer.Option("--bundle", help="Bundle by name or folder; may be repeated. Default: all that fit."),
]
Depth = Annotated[
    str,
    typer.Option(
        help="auto (block by block, where it pays), full, or the number of an exit, 1..N.",
        metavar="auto|full|N",
    ),
]
Budget = Annotated[
    float | None, typer.Option(help="Share of the full network's work to spend at most.", min=0, max=1)
]
Device = Annotated[str, typer.Option(help="Where the networks run.", metavar="auto|cpu|cuda")]
Runtime = Annotated[str, typer.Option(help="What runs them.", metavar="auto|torch|openvino")]
Series = Annotated[str | None, typer.Option(help="SeriesInstanceUID, when there are several.", metavar="UID")]
AllowUnlocked = Annotated[
    bool,
    typer.Option(
        "--allow-unlocked", help="Use bundles that did not come with this package; marks every output."
    ),
]
DicomMaps = Annotated[
    bool, typer.Option("--dicom-maps", help="For DICOM input also depth and uncertainty as DICOM.")
]
Pdf = Annotated[
    bool, typer.Option("--pdf", help="Also a page with the volumes; for DICOM input, as DICOM too.")
]
Lenient = Annotated[bool, typer.Option("--lenient", help="Also read DICOM files without preamble.")]
Age = Annotated[float | None, typer.Option(help="Age at the scan, years.", min=0, max=120)]
Sex = Annotated[str | None, typer.Option(help="Sex of the patient.", metavar="F|M")]
Education = Annotated[float | None, typer.Option(help="Years of education.", min=0, max=40)]
Mmse = Annotated[float | None, typer.Option(help="Mini-Mental State Examination.", min=0, max=30)]


def clinical_values(
    age: float | None, sex: str | None, education: float | None, mmse: float | None
) -> dict[str, float | str]:
    """The values that were given, by name.

    Raises:
        ConfigError: a sex other than F or M.
    """
    if sex is not None and sex.upper() not in ("F", "M"):
        raise ConfigError(f"--sex is {sex!r}; it must be F or M.")
    values = {"age": age, "sex": sex and sex.upper(), "education": education, "mmse": mmse}
    return {name: value for name, value in values.items() if value is not None}
