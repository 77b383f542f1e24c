"""The command line of the data tools; the same rules as `lnn-med`.

Exit codes: 0 done; 2 done in part (a connection failed, files are damaged); 3 wrong input or configuration;
130 interrupted, the same command goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from lnn_med.cli.app import DONE, SOME_FAILED
from lnn_med.cli.run import run_app
from lnn_med.console import console, set_up_logging, show_json
from lnn_med.errors import Code, InputError
from lnn_med.options import Json, Series, Verbose

app = typer.Typer(
    name="lnn-data",
    help="Data sets and scans: list and fetch public data, verify files, convert DICOM to NIfTI.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.command("list", epilog="Example:\n\n`lnn-data list`")
def list_datasets(as_json: Json = False) -> int:
    """Show the data sets in the catalogue: licence, size and how they are checked."""
    from data_tools.catalogue import load_catalogue

    datasets = load_catalogue().values()
    if as_json:
        from dataclasses import asdict

        show_json([asdict(dataset) for dataset in datasets])
        return DONE
    for dataset in datasets:
        size = f"{dataset.size_bytes / 1e6:.0f} MB" if dataset.size_bytes else "size not published"
        text = console()
        text.print(f"[bold]{dataset.name}[/bold]  {dataset.title}")
        text.print(f"  licence  {dataset.licence}", markup=False)
        text.print(f"  page     {dataset.page}", markup=False)
        if dataset.registration:
            text.print(f"  access   after registration at {dataset.registration}", markup=False)
        else:
            checks = ", ".join(f"{file.name}: {file.hash_state}" for file in dataset.files)
            text.print(f"  access   lnn-data fetch {dataset.name} ({size}; hash {checks})", markup=False)
    return DONE


@app.command(
    epilog="Example:\n\n`lnn-data fetch msd-hippocampus`\n\n`lnn-data fetch ixi-t1 -o /big/disk/ixi`"
)
def fetch(
    name: Annotated[str, typer.Argument(help="A name from `lnn-data list`.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder; default data/NAME.")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Download, verify and unpack a data set; the same command goes on after an interruption."""
    set_up_logging(verbose)
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from data_tools import catalogue
    from data_tools.fetch import fetch as fetch_dataset

    dataset = catalogue.find(name)
    folder = out or Path("data") / name
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=as_json or not screen.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        outcome = fetch_dataset(
            dataset, folder, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    if as_json:
        files = [{"url": got.url, "sha256": got.sha256, "checked": got.checked} for got in outcome.fetched]
        show_json({"out": str(folder), "files": outcome.files, "fetched": files})
        return DONE
    text = console()
    for got in outcome.fetched:
        against = "published hash" if got.checked != "not published" else "no hash is published; recorded now"
        text.print(f"{got.path.name}  sha256 {got.sha256}  ({against})", markup=False)
    state = "fetched" if outcome.fetched else "already there and intact"
    text.print(f"{folder}: {outcome.files} files, {state}. Licence: {dataset.licence}", markup=False)
    text.print(f"Cite: {dataset.citation}", markup=False)
    return DONE


@app.command(epilog="Example:\n\n`lnn-data verify data/msd-hippocampus`")
def verify(
    folder: Annotated[Path, typer.Argument(help="A fetched data set, or any folder with SHA256SUMS.")],
    record: Annotated[bool, typer.Option("--record", help="Write the hashes of what is there now.")] = False,
    as_json: Json = False,
) -> int:
    """Compare the files of a folder with its list of hashes; exit code 2 when some differ."""
    from dataclasses import asdict

    from data_tools.hashes import SUMS, check_sums, write_sums

    if record:
        if (folder / SUMS).exists():
            raise InputError(Code.STORAGE, f"{SUMS} is there already; remove it first to record anew.")
        count = write_sums(folder)
        if as_json:
            show_json({"folder": str(folder), "recorded": count})
        else:
            console().print(f"{folder}: {count} hashes recorded in {SUMS}.", markup=False)
        return DONE
    found = check_sums(folder)
    if as_json:
        show_json({"folder": str(folder), "intact": found.is_intact, **asdict(found)})
    else:
        text = console()
        for state, names in (("missing", found.missing), ("changed", found.changed), ("extra", found.extra)):
            for path in names:
                text.print(f"{state}  {path}", markup=False)
        verdict = "intact" if found.is_intact else "DAMAGED"
        text.print(f"{folder}: {found.checked} files listed, {verdict}.", markup=False)
    return DONE if found.is_intact else SOME_FAILED


@app.command(epilog="Example:\n\n`lnn-data convert dicom_folder scan.nii.gz`")
def convert(
    scan: Annotated[Path, typer.Argument(help="NIfTI file, DICOM file, or folder or zip of DICOM files.")],
    out: Annotated[Path, typer.Argument(help="NIfTI file to write, .nii or .nii.gz.")],
    series: Series = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Convert a scan to NIfTI; refuses when several series fit and none is named."""
    set_up_logging(verbose)
    from data_tools import convert as converter

    try:
        volume = converter.convert(scan, out, series)
    except InputError as error:
        if error.code is Code.SERIES and not as_json:
            print(_series_list(converter.series_table(scan)), file=sys.stderr)
        raise
    summary = {
        "out": str(out),
        "shape": list(volume.shape),
        "spacing_mm": [round(step, 6) for step in volume.spacing_mm],
        "orientation": volume.orientation,
        "warnings": [{"code": found.code.value, "message": found.message} for found in volume.findings],
    }
    if as_json:
        show_json(summary)
        return DONE
    text = console()
    shape, spacing = (" x ".join(f"{value:g}" for value in summary[key]) for key in ("shape", "spacing_mm"))
    text.print(f"{out}: {shape} voxels of {spacing} mm, {volume.orientation}", markup=False)
    for found in volume.findings:
        text.print(f"{found.code.value}: {found.message}", markup=False)
    return DONE


@app.command(epilog="Example:\n\n`lnn-data series dicom_folder`")
def series(
    folder: Annotated[Path, typer.Argument(help="Folder, zip or file with DICOM images.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Show which DICOM series a folder holds and which of them can be measured."""
    set_up_logging(verbose)
    from data_tools import convert as converter

    rows = converter.series_table(folder)
    if as_json:
        show_json(rows)
        return DONE
    print(_series_list(rows))
    return DONE


def _series_list(rows: list[dict[str, Any]]) -> str:
    """Three lines a series, so that the long UID stays whole and can be copied.

    Signs that steer a terminal are replaced: a description comes from whoever made the file.
    """
    lines = []
    for row in rows:
        mark = "*" if row["chosen"] else " "
        facts = f"{row['modality']}  {row['images']} images  {row['shape'] or '?'} voxels"
        facts += f"  {row['spacing_mm'] or '?'} mm  {row['orientation'] or ''}  {row['description']}"
        verdict = "can be read" if row["usable"] else "cannot be read"
        lines += [f"{mark} {row['series_uid']}", f"    {facts}", f"    {verdict}: {row['reason']}"]
    lines.append("* is what lnn-med predict takes without --series")
    return "\n".join("".join(sign if sign.isprintable() else "?" for sign in line) for line in lines)


def main() -> NoReturn:
    """Entry point of `lnn-data`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line of `lnn-data`; the exit code."""
    return run_app(app, "lnn-data", arguments)
