"""Commands about this installation: bundles, doctor."""

from __future__ import annotations

from lnn_med.allocator import keep_memory
from lnn_med.cli.app import DONE, SOME_FAILED, app, example
from lnn_med.console import console, set_up_logging, show_json, show_table, working
from lnn_med.options import Json, Verbose


@app.command(epilog=example("lnn-med bundles", "lnn-med bundles --json"))
def bundles(as_json: Json = False, verbose: Verbose = False) -> int:
    """List the bundles that are installed, with version and the outcome of their hash check."""
    set_up_logging(verbose)
    from lnn_med.doctor import bundle_facts

    facts = bundle_facts()
    if as_json:
        show_json(facts)
    else:
        rows = [
            (each["name"], each["version"], each["job"], "ok" if each["ok"] else each["problem"])
            for each in facts
        ]
        show_table(console(), "", ("bundle", "version", "job", "files"), rows)
    return DONE if all(each["ok"] for each in facts) else SOME_FAILED


@app.command(epilog=example("lnn-med doctor", "lnn-med doctor --json"))
def doctor(as_json: Json = False, verbose: Verbose = False) -> int:
    """Show versions, processor, memory, what runs fast on this machine and why, and check the bundles."""
    set_up_logging(verbose)
    keep_memory()
    with working(as_json, "Examining this machine"):
        from lnn_med.doctor import as_rows, examine

        facts = examine()
    if as_json:
        show_json(facts)
    else:
        text = console()
        show_table(text, "", ("what", "found"), as_rows(facts))
        for sentence in facts["advice"]:
            text.print(sentence, markup=False)
    return DONE if all(each["ok"] for each in facts["bundles"]) else SOME_FAILED
