"""Sections 0 to 2: cover, device, design."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lnn_med.evaluation.report.sections.blocks import Block, Section, facts, missing, percent, table, text
from lnn_med.evaluation.report.sections.primary import endpoint_rule
from lnn_med.evaluation.report.sections.wording import RESEARCH_USE, Record


def cover(record: Record) -> Section:
    """Section 0."""
    protocol, device = record["protocol"], record["device"]
    final = record["status"] == "FINAL"
    return Section(
        0,
        "Cover",
        (
            facts(
                [
                    ("Report", protocol["title"]),
                    ("Status", f"{record['status']}" + ("" if final else ": not for decisions")),
                    ("Protocol", protocol["id"] if protocol["id"] != "none" else "none was given"),
                    ("Protocol SHA-256", protocol["sha256"]),
                    ("Predictions made", device["scored_utc"] or "date not known: no scoring run"),
                    ("Use", RESEARCH_USE),
                ]
            ),
            {"kind": "signatures", "roles": ["Statistician", "Principal investigator", "Quality assurance"]},
        ),
    )


def device(record: Record) -> Section:
    """Section 1."""
    found, protocol = record["device"], record["protocol"]
    blocks: list[Block] = []
    if found["bundles"]:
        rows = [[one["name"], one["version"], one["weights_sha256"]] for one in found["bundles"]]
        blocks.append(table("Networks of the run", ("bundle", "version", "SHA-256 of the weights"), rows))
        used = found["n_models_used"]
        blocks.append(
            text("Results made with: " + "; ".join(f"{name}: {n}" for name, n in used.items()) + ".")
        )
    else:
        blocks.append(
            missing(
                "version, weights and configuration of the device; the predictions are label maps of another "
                "tool, which say nothing about their origin."
            )
        )
    options = ", ".join(f"{name} {value}" for name, value in found["options"].items())
    software = ", ".join(f"{name} {version}" for name, version in found["software"].items())
    blocks.append(
        facts(
            [
                ("Configuration SHA-256", found["config_sha256"]),
                ("Options", options),
                ("Software of the run", software),
                ("Commit of this report's program", record["reproducibility"]["commit"]),
                ("Intended use", protocol["intended_use"] or found["stated_use"]),
                ("Limits of the input", protocol["input_limits"]),
            ]
        )
    )
    return Section(1, "Device", tuple(blocks))


def design(record: Record) -> Section:
    """Section 2."""
    protocol = record["protocol"]
    blocks: list[Block] = [
        facts(
            [
                ("Purpose", protocol["purpose"]),
                ("Fixed before unblinding", protocol["registered"]),
                ("Predicate", protocol["predicate"]),
                ("Confidence level", percent(protocol["level"], 1)),
                ("Missing predictions", _missing_rule(protocol["missing"])),
                ("τ of the NSD", f"{protocol['tolerance_mm']:g} mm"),
                (
                    "Non-inferiority margin",
                    _margins(protocol),
                ),
                ("Promised coverage of volume intervals", percent(protocol["coverage"])),
            ]
        )
    ]
    endpoints = [("primary", protocol["primary"])] if protocol["primary"] else []
    endpoints += [("secondary", one) for one in protocol["secondary"]]
    if endpoints:
        rows = [[role, *endpoint_rule(one)] for role, one in endpoints]
        blocks.append(table("Endpoints", ("role", "endpoint", "success rule"), rows))
    if not protocol["primary"]:
        blocks.append(
            missing("no success rule; the protocol names no primary endpoint, so nothing is decided.")
        )
    return Section(2, "Design", tuple(blocks))


def _margins(protocol: Mapping[str, Any]) -> str:
    margins = f"{protocol['margin_dsc']:g} DSC"
    if protocol["classification"]:
        margins += f", {protocol['margin_auc']:g} AUC"
    return f"{margins}, one-sided {percent((1 - protocol['level']) / 2, 1)}"


def _missing_rule(rule: str) -> str:
    if rule == "worst":
        return (
            "worst value (DSC 0, NSD 0, HD95 the image's diagonal, wrong class); a second table without them"
        )
    return "left out by the protocol; a second table with the worst values"
