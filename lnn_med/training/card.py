"""The model card of a bundle, written from what the run knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lnn_med.inference.bundle import BundleInfo
from lnn_med.inference.classifier_bundle import ClassifierCalibration, ClassifierInfo


def model_card(info: BundleInfo) -> str:
    """Markdown: job, data and its licence, split, validation metrics, limits."""
    metrics, split = info.metrics, info.split
    rows = "\n".join(
        f"| {name} | {value:.3f} | {metrics['median_voxels'][name]} |"
        for name, value in metrics["structures"].items()
    )
    exits = ", ".join(f"{value:.3f}" for value in metrics["dice_exits"])
    gates = ""
    if metrics["dice_auto"] is not None:
        share = 100 * metrics["active_blocks"]
        gates = (
            "\n(The learned gates, which `--depth auto` asks only until `lnn-med calibrate`: "
            f"{metrics['dice_auto']:.3f} with {share:.0f} % of the blocks active.)"
        )
    return f"""# {info.name} {info.version}

{info.job[0].upper()}{info.job[1:]}. **Research use only; not a medical device.**

## Data
{info.data.get("data", "")}.
Licence: {info.data.get("licence", "")}. Source: {info.data.get("citation", "")}.
Split by blocks of neighbouring case names: {len(split["train"])} cases trained, {len(split["val"])}
validated, {len(split["calibration"])} kept for calibration and never seen by the weights (see bundle.yaml).

## Validation fold
Dice in model space ({info.space.spacing_mm:g} mm), mean over structures of at least 100 voxels:
**{metrics["dice_full"]:.3f}** at full depth; exits 1 to {len(metrics["dice_exits"])}: {exits}.{gates}
The best checkpoint was chosen on this fold, so the value is slightly optimistic.

| structure | Dice | median voxels |
|---|---|---|
{rows}

## How it was trained
{_history(info.training.get("pieces", []))}

## Limits
Trained on {len(split["train"])} scans of one source. Structures below 100 voxels vary by a large share of
their volume.
Not validated for diagnosis, for children, for scans after surgery, for contrasts other than T1.
"""


def classifier_card(info: ClassifierInfo, calibration: ClassifierCalibration) -> str:
    """Markdown: job, data and its terms, what was reached on people held back, groups, confounds, limits."""
    metrics = info.metrics
    rows = "\n".join(
        f"| {title} | {_interval(found['auc'])} | {_interval(found['auc_from_60'])} | {found['brier']:.3f} "
        f"| {found['intercept']:+.2f} | {found['slope']:.2f} | {found['ece']:.3f} ({found['ece_null']:.3f}) |"
        for title, found in (
            ("risk model: volumes, age, sex, education", metrics["age_sex_education"]),
            ("network on image and the same", metrics["network"]),
            ("network, with MMSE as well", metrics["network_with_mmse"]),
        )
    )
    groups = "\n".join(
        f"| {name} | {found['people']} | {found['with_dementia']} "
        f"| {'-' if found['mean_risk'] is None else format(found['mean_risk'], '.2f')} "
        f"| {'-' if found['auc'] is None else format(found['auc'], '.2f')} |"
        for name, found in metrics["subgroups"].items()
    )
    sets = "\n".join(
        f"| {', '.join(model.known) or 'nothing'} | {_interval(model.reliability.auc)} "
        f"| {_interval(model.reliability.auc_old)} |"
        for model in calibration.risk_models
    )
    youngest, oldest = info.ages_years
    usual, (worth, low, high) = metrics["age_sex_education"], metrics["image_slope"]
    early = 100 * metrics["answered_by_exit_1"]
    held, free, both = (100 * usual[key] for key in ("coverage_with", "coverage_without", "sets_of_both"))
    copies = info.training.get("copies", 0)
    seen = f"Networks learnt from each scan and from {copies} disturbed copies of it.\n" if copies else ""
    return f"""# {info.name} {info.version}

{info.job[0].upper()}{info.job[1:]}. **Research use only; not a medical device.**

The number that is given by default is a logistic regression on the volumes of {" and ".join(info.structures)}
(both sides together, in MNI space) and what is known of age, sex, education and MMSE, one for each set of
known values; nothing is imputed. Beside it stands a network that adds to the same logit what
{info.segmentation}'s features show at each place; that part is the evidence map. Its weight, fitted on people
held back, is {worth:.2f} (95 % interval {low:.2f} to {high:.2f}; 1: as trained, 0: it adds nothing to volumes
and record). The networks first learnt age and sex of all people of the training folds, then dementia as well.
Where the first exit is sure enough it answers and the stages after it do not run: for {early:.0f} % of people
held back. Brain age is told at the exit that answers.
{seen}
## Data
{info.data.get("data", "")}: {metrics["people"]} people, {metrics["with_dementia"]} with dementia (CDR > 0),
aged {youngest:.0f} to {oldest:.0f}.
Terms: {info.data.get("licence", "")}. Source: {info.data.get("citation", "")}.

## On people held back
Cross-validated by person; each person's answers of all seeds averaged. AUC with 95 % bootstrap intervals over
people. Brier, intercept and slope of the calibration: corrected by people held back, cross-fitted;
calibration error (ECE) in five bins, in brackets what a perfect model of so few people stays below.

| model | AUC | AUC from 60 years on | Brier | intercept | slope | ECE |
|---|---|---|---|---|---|---|
{rows}

Each training fold chose the volumes that count, as everyone did for the model that ships; coefficients and
networks never saw the people they are judged on. The terms of the risk model (age and its square), the number
of its volumes, and size, tokens and schedule of the networks were chosen by looking at all of these people,
so the numbers may still be somewhat optimistic. Prediction sets aim at
{100 * calibration.coverage:.0f} % for each class; those of the risk model, made of nine tenths of the people
for the last one, hold {held:.0f} % of those with and {free:.0f} % of those without dementia; {both:.0f} % of
them hold both classes.
Brain age, mean absolute error of people without dementia: {metrics["brain_age_mae_years"]:.1f} years.

| known beside the volumes | AUC | AUC from 60 years on |
|---|---|---|
{sets}

## Groups
Risk model with age, sex and education.

| group | people | with dementia | mean risk | AUC |
|---|---|---|---|---|
{groups}

## Confounds and limits
- Everyone with dementia in the data is at least 60 years old: below that age the answer rests on age.
- The images are of one site, without skull and already in template space; heads as they come from a scanner
  are brought there by {info.segmentation}'s structures. A brain whose structures lie more than
  {info.largest_residual_mm:g} mm from their places (median) is not judged.
- {100 * metrics["with_dementia"] / metrics["people"]:.0f} % of the people have the rating: where fewer do,
  the probabilities are too high.
- CDR > 0 is a clinical rating of mild impairment upwards, not a disease. MMSE nearly defines it.
- Not for diagnosis, not for screening, not for children, not after surgery or with tumours; not for people
  younger than {youngest:.0f} or older than {oldest:.0f}.
"""


def _interval(found: Sequence[float]) -> str:
    middle, low, high = found
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def _history(pieces: list[dict[str, Any]]) -> str:
    """One line for each piece of training, in order.

    A piece starts from the weights of the one before, or from those it names.
    """
    lines = []
    for number, piece in enumerate(pieces, start=1):
        schedule, loss = piece.get("schedule", {}), piece.get("loss", {})
        start = piece.get("init", [])
        line = f"{number}. "
        if isinstance(start, list) and start:  # older records name a path here
            line += f"From {'the mean of the weights of ' if len(start) > 1 else ''}{', '.join(start)}: "
        line += _steps(piece, schedule, loss)
        if teachers := piece.get("teachers"):
            line += f"; agreement with the mean answer of {', '.join(teachers)} counts {loss['teach']:g}-fold"
        made = f" Gave {version}." if (version := piece.get("version")) else ""
        lines.append(line + "." + made + (f" {piece['note']}" if piece.get("note") else ""))
    return "\n".join(lines)


def _steps(piece: dict[str, Any], schedule: dict[str, Any], loss: dict[str, Any]) -> str:
    """What was trained, for how long and how fast."""
    if not piece["steps"]:
        return "no further step"
    what = "gates alone" if piece.get("only") == "gates" else "trunk and stages"
    line = f"{piece['steps']} steps of {schedule.get('batch', 1)} ({what}), "
    line += f"{schedule.get('optimizer', 'adamw')} at {schedule.get('learning_rate', 0):g}"
    if loss:
        line += f"; the trunk alone for the first {100 * loss['coarse_share']:.0f} %"
        line += f", class weights frequency^-{loss['frequency_power']:g}"
    return line
