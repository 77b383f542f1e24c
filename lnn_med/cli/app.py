"""The Typer application, its exit codes, and what several commands need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lnn_med.console import RESEARCH_USE

if TYPE_CHECKING:
    from lnn_med.scoring.locked import LockedPredictor

DONE, SOME_FAILED, REFUSED, INTERRUPTED = 0, 2, 3, 130
UNEXPECTED = 1  # a defect of the program, not of the input

app = typer.Typer(
    name="lnn-med",
    help=f"Brain MRI: regional volumes, a depth map and files from a T1 head scan.\n\n{RESEARCH_USE}",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _show_version(asked: bool) -> None:
    if asked:
        from lnn_med.doctor import version_of

        print(version_of("lnn-med") or "unknown: the package is not installed")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """Options that need no command."""


def example(*lines: str) -> str:
    """The examples under a command's help."""
    return "Example:\n\n" + "\n\n".join(f"`{line}`" for line in lines) + f"\n\n{RESEARCH_USE}"


def predictor(
    bundle: list[str] | None,
    depth: str = "auto",
    budget: float | None = None,
    device: str = "auto",
    runtime: str = "auto",
    allow_unlocked: bool = False,
) -> LockedPredictor:
    """The chain of networks that the shared options choose.

    Raises:
        InputError: E_MODEL for a bundle that did not come with this package and is not allowed.
    """
    from lnn_med.inference.predict import Predictor
    from lnn_med.scoring.locked import LockedPredictor

    networks = Predictor(tuple(bundle or ()), depth, budget, device, runtime)
    return LockedPredictor(networks, allow_unlocked)
