"""Commands that talk to an archive: pacs find, fetch, send, watch."""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lnn_med.allocator import keep_memory
from lnn_med.cli.app import DONE, SOME_FAILED, app, example, predictor
from lnn_med.console import RESEARCH_USE, console, set_up_logging, show_json, working
from lnn_med.errors import Code, ConfigError, InputError, require
from lnn_med.options import AllowUnlocked, Budget, Bundle, Depth, Device, Json, Pdf, Runtime, Verbose

if TYPE_CHECKING:
    from collections.abc import Callable

    from lnn_med.prediction import Prediction
    from lnn_med.volume import Volume

logger = logging.getLogger(__name__)

pacs = typer.Typer(
    name="pacs",
    help="Find, fetch and send in a hospital's archive (DICOMweb or DIMSE), or watch it for new scans.",
    rich_markup_mode="markdown",
)
app.add_typer(pacs)

Where = Annotated[
    str,
    typer.Argument(
        help="The archive: https://host/dicom-web, dicom://AE_TITLE@host:port, or a YAML file.",
        metavar="ARCHIVE",
    ),
]


@pacs.command(
    epilog=example(
        "lnn-med pacs find pacs.yaml --match StudyDate=20260101- --match Modality=MR",
        "lnn-med pacs find dicom://ORTHANC@127.0.0.1:4242 --json",
    )
)
def find(
    archive: Where,
    match: Annotated[
        list[str] | None, typer.Option(help="What to ask for; may be repeated.", metavar="KEY=VALUE")
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """List the series that match. Names of patients are neither asked for nor shown."""
    set_up_logging(verbose)
    with working(as_json, "Asking the archive"):
        from lnn_med.pacs.archive import find as find_series
        from lnn_med.pacs.archive import open_archive
        from lnn_med.pacs.settings import read_settings

        config = read_settings(archive)
        found, refused = find_series(open_archive(config), _matches(match), config.limits.matches)
    if as_json:
        show_json([asdict(one) for one in found])
    else:
        text = console()
        for one in found:
            images = "?" if one.images is None else one.images
            text.print(f"{one.date}  {one.modality}  {images} images  {one.description}", markup=False)
            text.print(f"  {one.study_uid} --series {one.uid}", markup=False)  # as `fetch` takes them
        text.print(f"{len(found)} series match.")
    if refused:
        logger.warning("%d studies are left out: a UID that the archive lists for them is none.", refused)
    return SOME_FAILED if refused else DONE


@pacs.command(epilog=example("lnn-med pacs fetch pacs.yaml 1.2.840.1 --series 1.2.840.1.7 -o scan"))
def fetch(
    archive: Where,
    study: Annotated[str, typer.Argument(help="StudyInstanceUID.", metavar="STUDY_UID")],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the images.")],
    series: Annotated[
        str | None, typer.Option(help="SeriesInstanceUID; all MR series without it.", metavar="UID")
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Receive the MR images of a study, under our own file names, whole or not at all."""
    set_up_logging(verbose)
    with working(as_json, "Receiving"):
        from lnn_med.pacs.archive import find as find_series
        from lnn_med.pacs.archive import open_archive
        from lnn_med.pacs.settings import read_settings
        from lnn_med.pacs.watch import MODALITY, fetch_to

        config = read_settings(archive)
        opened = open_archive(config)
        wanted = {"StudyInstanceUID": study, "Modality": MODALITY}
        wanted |= {"SeriesInstanceUID": series} if series else {}
        found, refused = find_series(opened, wanted, config.limits.matches)
        if refused:
            raise InputError(Code.UID, "The archive lists this study with a UID that is none.")
        if not found:
            raise ConfigError("The archive has no MR series of that study and series UID.")
        images = fetch_to(opened, found, out, config)
    if as_json:
        show_json({"out": str(out), "series": len(found), "images": images})
    else:
        console().print(f"{images} images of {len(found)} series are in {out}.", markup=False)
    return DONE


@pacs.command(epilog=example("lnn-med pacs send pacs.yaml result/segmentation.dcm result/measurements.dcm"))
def send(
    archive: Where,
    files: Annotated[list[Path], typer.Argument(help="DICOM files; folders are not searched.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Store DICOM files in the archive, byte for byte; nothing but the files that are named."""
    set_up_logging(verbose)
    with working(as_json, "Sending"):
        from lnn_med.pacs.archive import open_archive, outgoing
        from lnn_med.pacs.settings import read_settings

        opened = open_archive(read_settings(archive))
        checked = [outgoing(path) for path in files]  # all, before the first one is sent
        opened.send(checked)
    if as_json:
        show_json({"sent": len(checked)})
    else:
        console().print(f"{len(checked)} files are stored in the archive.")
    return DONE


@pacs.command(
    epilog=example(
        "lnn-med pacs watch pacs.yaml -o watch --by listen", "lnn-med pacs watch pacs.yaml -o watch --once"
    )
)
def watch(
    archive: Where,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the watch; the same one resumes it.")],
    by: Annotated[
        Literal["poll", "listen"], typer.Option(help="Ask for new studies, or receive what is sent to us.")
    ] = "poll",
    once: Annotated[bool, typer.Option("--once", help="Ask once, work, and end (for cron).")] = False,
    bundle: Bundle = None,
    depth: Depth = "auto",
    budget: Budget = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
    allow_unlocked: AllowUnlocked = False,
    pdf: Pdf = False,
    verbose: Verbose = False,
) -> int:
    """Score each new MR study and send its segmentation and measurements back, until interrupted.

    Age and sex are taken from the images; where they stood is written beside each result.
    """
    set_up_logging(verbose)
    keep_memory()
    if pdf:
        require("typst", "report")  # before any work
    if once and by == "listen":
        raise ConfigError("--once goes with polling; a listener has no end.")
    threading.excepthook = _say_kind_only
    from lnn_med.pacs.settings import read_settings
    from lnn_med.pacs.watch import Watch, locked

    config = read_settings(archive)
    with locked(out):
        text = console()
        measure = predictor(bundle, depth, budget, device, runtime, allow_unlocked)
        watching = Watch(config, out, scorer(out, measure, pdf))
        text.print(f"Watching into {out}; Ctrl-C ends it, the same command goes on. {RESEARCH_USE}")
        if by == "listen":
            watching.listen()
        watching.poll(once)
        return SOME_FAILED if watching.refused else DONE


def scorer(
    out: Path, measure: Callable[[Volume, Any], Prediction], pdf: bool = False
) -> Callable[[Path], Path]:
    """What scores the folder of one study: read, measured, and written to `out/results/<study>`.

    Age and sex of its header go to the networks and, with `pdf`, onto the page.
    """
    from lnn_med.io import read
    from lnn_med.io.dicom_person import clinical_of
    from lnn_med.io.files import sha256_of
    from lnn_med.io.result_files import RESULT, Extras, write_prediction
    from lnn_med.pacs.watch import RESULTS
    from lnn_med.scoring import audit
    from lnn_med.scoring.locked import execution_of

    def score(folder: Path) -> Path:
        result, began = out / RESULTS / folder.name, datetime.now(UTC)
        volume = read(folder)
        clinical, origins = clinical_of(volume.source)
        prediction = measure(volume, clinical)
        execution = replace(execution_of(measure, began), clinical_from=origins)
        extras = Extras(pdf=pdf, facts={**clinical, "from": origins})
        write_prediction(prediction, result, execution, extras=extras)
        source = prediction.source
        scan = audit.object_of("scan", source.sha256, source.name)
        audit.record(out, audit.Event("scored", scan, source.sha256, sha256_of([result / RESULT])))
        return result

    return score


def _matches(texts: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts or ()]
    for _, separator, value in pairs:
        if not separator or not value:
            raise ConfigError("--match must look like Modality=MR.")
    return {key: value for key, _, value in pairs}


def _say_kind_only(error: threading.ExceptHookArgs) -> None:
    """A defect in a thread of the receiver: its words may quote what a peer sent."""
    logger.error("A connection ended with %s.", error.exc_type.__name__)
