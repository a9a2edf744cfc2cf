"""Imports run one way, left to right, as the data flow."""

import ast
from pathlib import Path

import bnn

ROOT = Path(bnn.__file__).parent
ORDER = (
    "errors bars threads memory seeds lbfgs hamiltonian data layout networks priors averages "
    "predictive likelihoods problem forecast backpropagation gradients optimise posterior "
    "diagnostics variational curvature exact methods check metrics losses run scores evaluation "
    "batch store execution statistics table plots report benchmark study cli"
).split()


def imports(path: Path) -> set[str]:
    """The parts of bnn that a module imports when it is run (not for type checking only)."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "bnn":
                names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
                found.update(names)
        elif isinstance(node, ast.Import):
            found.update(a.name.split(".")[1] for a in node.names if a.name.startswith("bnn."))
    return found


def test_every_part_has_its_place_in_the_order() -> None:
    parts = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert parts - {"__init__"} == set(ORDER)


def test_imports_run_from_left_to_right() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        allowed = {*ORDER[: ORDER.index(part)], part}
        wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in imports(path) - allowed]
    assert not wrong
