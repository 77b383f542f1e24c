"""Commands for trials: plan-study."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lnn_med.cli.app import DONE, app, example
from lnn_med.console import RESEARCH_USE, console, set_up_logging, show_json, show_table
from lnn_med.options import Json, Verbose

if TYPE_CHECKING:
    from lnn_med.evaluation.planning import SampleSize

COLUMNS = ("to show", "patients", "assuming")


@app.command(
    "plan-study",
    epilog=example(
        "lnn-med plan-study --sd 0.03 --margin 0.01 --margin 0.02",
        "lnn-med plan-study --auc 0.85 --auc-half-width 0.05 --prevalence 0.3 --dropout 0.1 --json",
    ),
)
def plan_study(
    sd: Annotated[float, typer.Option(help="SD of the paired difference, such as of Dice.")] = 0.03,
    margin: Annotated[
        list[float] | None, typer.Option(help="Acceptable loss; several are possible. Default 0.01, 0.02.")
    ] = None,
    gain: Annotated[float, typer.Option(help="Expected mean of new minus old.")] = 0.0,
    power: Annotated[float, typer.Option(help="Chance of showing non-inferiority.")] = 0.9,
    alpha: Annotated[float, typer.Option(help="One-sided error of non-inferiority.")] = 0.025,
    auc: Annotated[float, typer.Option(help="Expected AUC.")] = 0.85,
    auc_half_width: Annotated[float, typer.Option(help="Half the width of its interval.")] = 0.05,
    prevalence: Annotated[float, typer.Option(help="Share of patients with the condition.")] = 0.5,
    limits_half_width: Annotated[
        float, typer.Option(help="Half the width of the interval of a limit of agreement, in SD.")
    ] = 0.3,
    proportion: Annotated[float, typer.Option(help="Expected sensitivity, specificity, coverage.")] = 0.9,
    proportion_half_width: Annotated[float, typer.Option(help="Half the width of its interval.")] = 0.05,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    dropout: Annotated[float, typer.Option(help="Share of patients that cannot be analysed.")] = 0.0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Print how many patients a study needs: non-inferiority, AUC, limits of agreement, proportion."""
    set_up_logging(verbose)
    from lnn_med.evaluation import planning as plan

    sizes = [plan.noninferiority_size(sd, each, gain, power, alpha) for each in margin or (0.01, 0.02)]
    sizes += [
        plan.auc_size(auc, auc_half_width, prevalence, level),
        plan.agreement_size(limits_half_width, level),
        plan.proportion_size(proportion, proportion_half_width, level),
    ]
    sizes = [plan.with_dropout(size, dropout) for size in sizes]
    if as_json:
        show_json({"studies": [asdict(size) for size in sizes]})
        return DONE
    text = console()
    show_table(text, "", COLUMNS, [_row(size) for size in sizes])
    text.print(
        "Patients are independent: two hippocampi of one are one. For a sensitivity the proportion counts "
        "patients with the condition."
    )
    text.print(RESEARCH_USE)
    return DONE


def _row(size: SampleSize) -> tuple[str, int, str]:
    assumed = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in size.assumptions.items())
    return size.purpose, size.n, assumed
