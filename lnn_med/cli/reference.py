"""Commands about reference people: percentiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lnn_med.allocator import keep_memory
from lnn_med.cli.app import DONE, app, example
from lnn_med.console import console, counting, set_up_logging, show_json, show_table
from lnn_med.options import Json, Verbose


@app.command(
    epilog=example(
        "lnn-med percentiles brain-t1 ixi --table ixi/participants.csv --reference 'IXI, healthy adults'"
    )
)
def percentiles(
    bundle: Annotated[str, typer.Argument(help="Bundle that measures heads, by name or folder.")],
    dataset: Annotated[Path, typer.Argument(help="Folder that the table's images are relative to.")],
    table: Annotated[Path, typer.Option(help="CSV with columns image, age and sex, one person a row.")],
    reference: Annotated[str, typer.Option(help="Who these people are; shown beside every percentile.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for a copy; default: the bundle itself.")
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option(help="Bundle trained without some of those who trained BUNDLE; it measures them."),
    ] = None,
    others_depth: Annotated[str, typer.Option(help="Depth of these: auto, full, 1, 2, ...")] = "auto",
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Measure healthy people and keep percentile curves by age, sex and head size with the bundle."""
    set_up_logging(verbose)
    keep_memory()
    with counting(as_json, "Measuring people", None) as progress:
        from lnn_med.training.reference_people import add_percentiles

        def advance(done: int, total: int) -> None:
            progress.update(progress.task_ids[0], completed=done, total=total)

        made = add_percentiles(
            bundle, dataset, table, reference, out, others or (), others_depth, progress=advance
        )
    found = made.percentiles
    if as_json:
        inside = {name: curve.inside for name, curve in found.curves.items()}
        show_json({"bundle": str(made.path), "people": found.people, "ages": found.ages, "inside": inside})
        return DONE
    text = console()
    rows = [(name, "log" if curve.log else "linear", curve.inside) for name, curve in found.curves.items()]
    show_table(text, "", ("structure", "scale", "within 5 to 95 %"), rows)
    low, high = found.ages
    text.print(f"{found.people} people of {low:.0f} to {high:.0f} years; wrote {made.path}", markup=False)
    return DONE
