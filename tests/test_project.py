"""The repository itself: what lies where, what is promised in the README, what the code may not do."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

from lnn_med.errors import Code, WarningCode
from lnn_med.io.files import LIMITS

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {
    *(".ci", ".gitignore", "app", "benchmarks", "data_tools", "docs", "lnn_med", "notebooks", "tests"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "NOTICE", "README.md", "STYLE.md"),
    *("constraints.txt", "pyproject.toml"),
}
MAX_FILE_BYTES = 8 << 20
MAX_BUNDLE_BYTES = 10 << 20
NETWORK_MODULES = {
    "requests",
    "urllib.request",
    "urllib3",
    "http.client",
    "httpx",
    "socket",
    "ftplib",
    "aiohttp",
}
PACKAGES = ("lnn_med", "data_tools")


@cache
def tracked() -> tuple[Path, ...]:
    """Files that git knows and that are there; outside a checkout the test is skipped."""
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if found.returncode != 0:
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in found.stdout.split("\0") if name)
    return tuple(path for path in paths if path.exists())


def modules(package: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: everything outside functions and TYPE_CHECKING blocks."""
    for node in ast.iter_child_nodes(tree):
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not typing_only and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from at_import(node)


def name_of(requirement: str) -> str:
    """The normal form of a distribution's name, without extras and versions."""
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def test_top_level_holds_only_what_the_design_names() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert found <= TOP_LEVEL, f"unexpected at the top: {sorted(found - TOP_LEVEL)}"


def test_no_large_files() -> None:
    weights = re.compile(r"lnn_med/bundles/[^/]+/[^/]+\.safetensors$")
    large = [
        f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes"
        for path in tracked()
        if path.stat().st_size > MAX_FILE_BYTES and not weights.search(path.as_posix())
    ]
    assert not large


def test_bundles_are_small_and_match_their_hashes(shipped_bundles: Path) -> None:
    for bundle in sorted(path for path in shipped_bundles.iterdir() if path.is_dir()):
        files = {path.name: path for path in bundle.iterdir() if path.is_file()}
        size = sum(path.stat().st_size for path in files.values())
        assert size <= MAX_BUNDLE_BYTES, f"{bundle.name} has {size:,} bytes"
        listed = {}
        for line in files["SHA256SUMS"].read_text().splitlines():
            digest, name = line.split(maxsplit=1)
            listed[name.lstrip("*")] = digest
        assert set(listed) == set(files) - {"SHA256SUMS"}, f"{bundle.name}: list and files differ"
        for name, digest in listed.items():
            assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digest, f"{bundle.name}/{name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_unpickles(package: str) -> None:
    found = []
    for path, tree in modules(package):
        used = {name.split(".")[0] for name in imports(ast.walk(tree))} & {
            *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
        }
        found += [f"{path.name} imports {name}" for name in used]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save"):
                found.append(f"{path.name}:{node.lineno} uses {ast.unparse(node)}")
            if (
                isinstance(node, ast.keyword)
                and node.arg == "allow_pickle"
                and ast.unparse(node.value) != "False"
            ):
                found.append(f"{path.name}:{node.value.lineno} allows pickle")
    assert not found


def test_package_imports_no_network_module() -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, tree in modules("lnn_med")
        for name in imports(at_import(tree))
        if name in NETWORK_MODULES
    ]
    assert not found


def test_package_can_be_imported_without_any_extra() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {name_of(entry) for entry in settings["dependencies"]}
    owners = metadata.packages_distributions()
    found = []
    for path, tree in modules("lnn_med"):
        for name in imports(at_import(tree)):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top == "lnn_med":
                continue
            if not {name_of(owner) for owner in owners.get(top, [])} & core:
                found.append(f"{path.relative_to(ROOT)} imports {top}")
    assert not found, "import it where it is used: errors.require(module, extra)"


def test_help_imports_nothing_heavy() -> None:
    code = "import lnn_med.cli, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"torch", "monai", "pandas", "scipy", "nibabel", "pydicom", "sklearn", "matplotlib"}
    assert not heavy & set(loaded.stdout.split())


def test_import_rules_hold() -> None:
    code = "import sys; from importlinter.cli import lint_imports_command as run; run()"
    command = [sys.executable, "-c", code, "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_package_stands_under_the_import_rules() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {
        "tests",
        "notebooks",
        "benchmarks",
    }
    assert packages == set(settings["tool"]["importlinter"]["root_packages"])


def test_constraints_pin_every_dependency() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [settings["dependencies"], *settings["optional-dependencies"].values()]
    entries = (entry for group in wanted for entry in group)
    names = {name_of(entry) for entry in entries}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    assert names <= pinned, f"not pinned: {sorted(names - pinned)}"
    assert not [line for line in lines if "+" in line.split("#")[0]], "a local version fits one build only"


def test_commands_in_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([a-z]+)", readme)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    for program, module in (("lnn-med", "lnn_med.cli"), ("lnn-data", "data_tools.cli")):
        named = set(re.findall(rf"{program} ([a-z]+)", readme))
        assert named, program
        listing = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import sys; sys.argv = ['{program}', '--help']; from {module} import main; main()",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
        ).stdout
        offered = set(re.findall(r"^\W*([a-z][a-z-]+) {2,}", listing, re.MULTILINE))
        assert named <= offered, f"{program}: not offered: {sorted(named - offered)}"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "STYLE.md", "NOTICE"])
def test_pages_link_only_to_what_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    targets += re.findall(r"\bdocs/[\w./-]*\w", text)
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert not missing


def test_changelog_names_the_version_or_the_unreleased_work() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{version}]" in changelog or "## [Unreleased]\n\n###" in changelog


def test_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    for owner in ("CC BY-SA", "Attribution-ShareAlike 4.0", "Biomedical Image Analysis", "OASIS", "McGill"):
        assert owner in (ROOT / "NOTICE").read_text(encoding="utf-8").replace(
            "Attribution-ShareAlike 3.0", "CC BY-SA"
        )


def test_ci_runs_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o100, "not executable"
    assert "make test" in script.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", script], check=True)


STUBS = {  # nothing is installed; apt-get fails as without a network
    "dpkg-query": "exit 1",
    "apt-get": 'echo "apt-get $*" >>"$LOG"; exit 100',
    "id": "echo 1000",
}


@pytest.mark.parametrize(
    ("sudo", "said"),
    [
        ("exit 1", "needs root"),
        ('shift; case "$1" in true) ;; env) exec "$@" ;; *) cat >/dev/null ;; esac', "could not install"),
    ],
    ids=["without root", "apt fails"],
)
def test_missing_system_packages_never_fail_the_tests(tmp_path: Path, sudo: str, said: str) -> None:
    for name, body in {**STUBS, "sudo": sudo}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(log)}
    done = subprocess.run(
        [ROOT / ".ci" / "system_packages"], env=environment, capture_output=True, text=True, input=""
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert "dcm2niix" in done.stdout, "the message names what is missing"
    if said == "could not install":
        calls = log.read_text().splitlines()
        assert calls[0].endswith(" update")
        assert any(call.endswith(" dcm2niix") for call in calls), "each package is tried alone too"


def test_page_of_refusals_lists_every_code_and_limit() -> None:
    page = (ROOT / "docs" / "refusals.md").read_text(encoding="utf-8")
    missing = [code.value for code in Code if f"| `{code.value}` | {code.remedy} |" not in page]
    missing += [code.value for code in WarningCode if f"`{code.value}`" not in page]
    missing += [name for name, value in asdict(LIMITS).items() if f"| {value:,} |" not in page]
    assert not missing, f"docs/refusals.md is out of date: {missing}"


def test_public_names_exist() -> None:
    import lnn_med

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = {
        name.strip() for line in re.findall(r"from lnn_med import (.+)", readme) for name in line.split(",")
    }
    assert named
    assert named <= set(lnn_med.__all__)
    for name in lnn_med.__all__:
        assert getattr(lnn_med, name) is not None, name
