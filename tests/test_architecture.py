"""The import borders of the house, checked on the syntax tree of every module."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for package in ("pipeline", "transforms") for path in (ROOT / package).rglob("*.py"))
STEPS = {"reread", "read", "extract", "chunk", "remember", "group", "plan", "embed", "write", "commit"}
HTTP = {"requests", "urllib3", "http", "httpx", "aiohttp"}
IMPURE = {"apache_beam", "os", "time", "random", "logging", "secrets", "socket", "subprocess", *HTTP}
STEP_MODULES = {f"transforms.{step}" for step in STEPS}
BETWEEN = {
    f"transforms.{name}"
    for name in (
        "carry",
        "extractor_process",
        "in_flight",
        "notes",
        "resolve",
        "side_threads",
        "spare_memory",
        "stamp",
        "unpack",
    )
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree: ast.AST) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append("." * node.level + (node.module or ""))
    return found


def forbidden(module: str, imported: str) -> bool:
    """Say whether a room's module may not import something, by the table of the house style."""
    top = imported.partition(".")[0]
    ours = top in ("pipeline", "transforms")
    if imported.startswith(".") or top == "tests" or imported == "__future__":
        return True
    if module in ("transforms.records", "transforms.errors"):
        return ours or top not in sys.stdlib_module_names
    if module.startswith("transforms.core"):
        if ours:
            return not imported.startswith("transforms.core") and imported not in (
                "transforms.records",
                "transforms.errors",
            )
        return top in IMPURE or (top == "pyarrow" and module != "transforms.core.tables")
    if module.startswith(("transforms.clients", "transforms.storage")):
        other = "transforms.storage" if module.startswith("transforms.clients") else "transforms.clients"
        allowed = ("transforms.core", "transforms.records", "transforms.errors", ".".join(module.split(".")[:2]))
        return (
            top in ("apache_beam", "yaml") or imported.startswith(other) or (ours and not imported.startswith(allowed))
        )
    if module in STEP_MODULES:
        return (
            imported in STEP_MODULES or imported == "transforms" or top in {"pipeline", "yaml", "argparse", "os", *HTTP}
        )
    if module in BETWEEN:
        return imported in STEP_MODULES or top in {"pipeline", "yaml", "argparse", "os", "apache_beam", *HTTP}
    if module == "pipeline.graph":
        return top in {"pyarrow", "argparse", *HTTP}
    if module == "pipeline.config":
        return imported.startswith("transforms.") and not imported.startswith(
            ("transforms.core", "transforms.clients.http", "transforms.clients.static_model", "transforms.errors")
        )
    if module == "pipeline.commands" or module.startswith("pipeline.commands."):
        return imported in STEP_MODULES or imported in ("pipeline.cli", "pipeline.graph", "pipeline.runner")
    if module == "transforms":
        return imported not in STEP_MODULES | BETWEEN | {"importlib", "typing"}
    return False


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_module_keeps_to_the_import_table(path: Path) -> None:
    module = module_name(path)
    wrong = [name for name in imports_of(ast.parse(path.read_text())) if forbidden(module, name)]
    assert not wrong, f"{module} must not import {', '.join(wrong)}"


def test_only_the_steps_the_graph_and_the_runner_know_beam() -> None:
    knowing = {
        module_name(p)
        for p in MODULES
        if any(i.startswith("apache_beam") for i in imports_of(ast.parse(p.read_text())))
    }
    assert knowing <= STEP_MODULES | {"pipeline.graph", "pipeline.engine", "pipeline.runner"}


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("transforms.core.chunking", "apache_beam"),
        ("transforms.core.chunking", "transforms.storage.store"),
        ("transforms.core.bill", "pyarrow"),
        ("transforms.chunk", "transforms.group"),
        ("transforms.chunk", "pipeline.cli"),
        ("transforms.clients.http", "transforms.storage.store"),
        ("transforms.records", "numpy"),
        ("transforms.embed", "__future__"),
        ("pipeline.graph", "requests"),
    ],
)
def test_planted_violation_is_caught(module: str, imported: str) -> None:
    assert forbidden(module, imported)


def test_nothing_catches_every_exception_but_the_command_line() -> None:
    catching = {
        module_name(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and not isinstance(node.body[-1], ast.Raise)
    }
    assert catching == {"pipeline.cli"}


def test_no_module_is_named_for_lack_of_a_purpose() -> None:
    assert not {path.stem for path in MODULES} & {"utils", "helpers", "common", "misc"}
