"""Imports go downwards only, and importing the package is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "pushforward"

# Every module stands on the floors below its own, and on its own floor unless that is the floor of methods.
FLOORS: list[set[str]] = [
    {"errors", "budget", "folders", "world", "progress", "parameters"},
    {"maps", "laws", "residuals", "latent", "pairing", "mixtures", "denoising", "sliced"}
    | {"gaussianized", "patches", "critic_law", "generator_law", "objectives", "solvers", "nets", "metrics"}
    | {"walks", "augmentation"},
    {"data", "run", "condition", "codes", "source", "diagnostics", "time_scales", "two_player"},
    {"report"},  # draws a fitted model that it is handed; saving puts its pictures and card into the folder
    {"method", "saving"},
    {"methods"},
    {"features", "scoring", "training_rows", "evaluate", "compare", "output", "doctor"}
    | {"flags", "cli", "cli_compare", "cli_benchmark", "__main__", "__init__"},
]
FLOOR_OF = {name: level for level, names in enumerate(FLOORS) for name in names}
MODULES = sorted(ROOT.rglob("*.py"))


def part_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def run_time_imports(tree: ast.Module) -> set[str]:
    """Modules of the package that a file imports, those for type checking alone left out."""
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "pushforward":
            found |= {f"pushforward.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pushforward."):
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("pushforward.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    mine = part_of(path)
    assert mine in FLOOR_OF, f"{mine} stands on no floor: add it to FLOORS"
    for name in run_time_imports(ast.parse(path.read_text())):
        other = name.split(".")[1]
        if other == "__version__" or (mine, name) in LOOK_UPS:
            continue
        assert FLOOR_OF.get(other, 0) <= FLOOR_OF[mine], f"{path.name} imports {name} from a floor above"
        if mine == "methods" and path.name != "__init__.py":
            assert other != "methods", f"{path.name} imports another method"


# The registry and loading find the methods by importing their package.
LOOK_UPS = {("method", "pushforward.methods")}


def test_method_files_are_short() -> None:
    for path in (ROOT / "methods").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path.name


def test_every_method_file_is_named_by_its_class() -> None:
    from pushforward import methods

    files = {path.stem for path in (ROOT / "methods").glob("*.py")} - {"__init__"}
    assert set(methods.FILES.values()) == files
    assert set(methods.FILES) == set(methods.__all__)
    for name, file in methods.FILES.items():
        assert getattr(methods, name).__module__ == f"pushforward.methods.{file}"


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_loads_nothing_heavy() -> None:
    heavy = [
        "sklearn",
        "pandas",
        "matplotlib",
        "scipy.stats",
        "scipy.optimize",
        "scipy.sparse",
        "PIL",
        "jinja2",
        "tqdm",
        "tyro",
        "lap",
        "pyarrow",
    ]
    seen = f"print([m for m in {heavy} if m in set(sys.modules) - before])"
    code = f"import sys, torch; before = set(sys.modules); import pushforward; {seen}"
    assert run_python(code).strip() == "[]"


def test_importing_touches_no_gpu_and_no_generator() -> None:
    code = (
        "import torch; torch.manual_seed(3); a = torch.random.get_rng_state(); import pushforward; "
        "print(torch.cuda.is_initialized(), torch.equal(a, torch.random.get_rng_state()))"
    )
    assert run_python(code).split() == ["False", "True"]


def test_importing_costs_at_most_150_ms_more_than_torch() -> None:
    """CPU time, the least of five processes."""
    code = "import time, torch; t = time.process_time(); import pushforward; print(time.process_time() - t)"
    assert min(float(run_python(code)) for _ in range(5)) <= 0.150
