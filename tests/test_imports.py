"""Tests of the house's order: imports only go down, heavy packages have one room, no pickles."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "raymmfl"

# A room is a folder or a module of the package; a new one must be given a floor here.
FLOORS = {
    "errors": 0,
    "config": 0,
    "configfile": 0,
    "seeds": 0,
    "files": 0,
    "tasks": 0,
    "history": 0,
    "archive": 1,
    "models": 1,
    "learning": 2,
    "evaluate": 2,
    "evaluate_pixels": 2,
    "federation": 3,
    "algorithms": 3,
    "runtime": 4,
    "checkpoint": 4,
    "environment": 4,
    "tracking": 5,
    "tracking_links": 5,
    "tracking_store": 5,
    "tracking_uri": 5,
    "archive_figures": 5,
    "figures": 5,
    "heatmaps": 5,
    "plotting": 5,
    "quicklook": 5,
    "report": 5,
    "scoring": 5,
    "rounds": 5,
    "mirroring": 5,
    "opening": 5,
    "results": 5,
    "run": 6,
    "tuning": 6,
    "comparison": 6,
    "prediction": 6,
    "cli": 7,
}
STRANGERS = {("archive", "models"), ("models", "archive")}  # on one floor, but apart
ROOMS = {
    "ray": {"runtime", "tuning"},
    "optuna": {"tuning"},
    "mlflow": {"tracking", "tracking_store"},
    "rasterio": {"archive"},
    "pyarrow": {"archive"},
    "matplotlib": {
        "comparison",
        "archive_figures",
        "figures",
        "heatmaps",
        "plotting",
        "quicklook",
    },
    "torch": {"models", "learning", "evaluate", "federation", "runtime", "results", "prediction"},
    "torchmetrics": {"evaluate"},
    "tyro": {"cli"},
    "yaml": {"configfile"},
    "pydantic": {"config", "configfile", "archive", "tuning"},
}
SERVER_SIDE = (
    "plan",
    "aggregate",
    "wire",
    "exchange",
    "ledger",
    "update",
    "setting",
    "server",
    "views",
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of all that is imported anywhere in a module, also within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("importlib.import_module", "import_module")
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value)


def rooms_in(names: Iterator[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("raymmfl.")}


def wrong_imports(room: str, tree: ast.AST) -> list[str]:
    """What a module of a room imports against the order of the house."""
    found = []
    for other in rooms_in(imported(tree)) - {"__version__"}:
        if FLOORS[other] > FLOORS[room]:
            found.append(f"{room} imports {other}, which is above it")
        if (room, other) in STRANGERS:
            found.append(f"{room} imports {other}")
    for name in imported(tree):
        heavy = name.split(".")[0]
        if heavy in ROOMS and room not in ROOMS[heavy]:
            found.append(f"{room} imports {heavy}, which belongs to {ROOMS[heavy]}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down_and_heavy_packages_keep_to_their_rooms(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        assert not list(imported(tree_of(path)))
        return
    assert room_of(path) in FLOORS, "give the new room a floor in this test"
    assert wrong_imports(room_of(path), tree_of(path)) == []


ARCHIVE = {"": 0, "rasters": 1, "readers": 2, "packing": 3, "synthetic": 3}


def archive_room(parts: Sequence[str]) -> str:
    """The room within the archive of a module given by its path or name from there."""
    return parts[0] if len(parts) > 1 and parts[0] in ARCHIVE else ""


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room_of(p) == "archive"], ids=lambda p: str(p.name)
)
def test_the_archives_rooms_import_only_those_before_them(path: Path) -> None:
    room = archive_room(path.relative_to(PACKAGE / "archive").parts)
    for name in imported(tree_of(path)):
        if name.startswith("raymmfl.archive."):
            other = archive_room(name.split(".")[2:])
            assert other == room or ARCHIVE[other] < ARCHIVE[room], f"imports {name}"
        assert not name.startswith("rasterio") or room in ("rasters", "synthetic")


@pytest.mark.parametrize(
    ("room", "code"),
    [
        ("archive", "from raymmfl.models.multimodal import build"),
        ("models", "def f():\n    import raymmfl.archive.store"),
        ("federation", "from raymmfl.runtime import worker"),
        ("federation", "from raymmfl import tracking"),
        ("learning", "import ray"),
        ("rounds", "import importlib\nimportlib.import_module('mlflow.tracking')"),
        ("checkpoint", "from rasterio.io import MemoryFile"),
        ("runtime", "import optuna"),
    ],
)
def test_the_check_sees_a_wrong_import(room: str, code: str) -> None:
    assert len(wrong_imports(room, ast.parse(code))) == 1


def test_every_floor_is_a_room_that_exists() -> None:
    assert {room_of(path) for path in MODULES} - {"__init__"} == set(FLOORS)


_FORBIDDEN_NAMES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
_FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
_FORBIDDEN_ATTRIBUTES = {"torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}


def dangers(tree: ast.AST) -> list[str]:
    """Whatever could run code that a file brought along."""
    found = [name for name in imported(tree) if name.split(".")[0] in _FORBIDDEN_NAMES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in _FORBIDDEN_CALLS | _FORBIDDEN_ATTRIBUTES:
                found.append(called)
            found += [
                "allow_pickle"
                for keyword in node.keywords
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"
            ]
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in (
            "yaml.Loader",
            "yaml.UnsafeLoader",
            "yaml.FullLoader",
        ):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    assert dangers(tree_of(path)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "class L(yaml.UnsafeLoader): pass",
        "eval(text)",
        "def f():\n    exec(text)",
    ],
)
def test_the_check_sees_a_danger(code: str) -> None:
    assert len(dangers(ast.parse(code))) == 1


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_it_does_and_prints_only_at_the_door(path: Path) -> None:
    tree = tree_of(path)
    assert ast.get_docstring(tree)
    calls = [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]
    assert room_of(path) == "cli" or "print" not in calls


def modules_after(code: str) -> set[str]:
    """Top-level packages that a fresh process has loaded after some code."""
    ended = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {name.split(".")[0] for name in json.loads(ended.stdout)}


def test_the_server_side_needs_numpy_alone() -> None:
    imports = [f"import raymmfl.federation.{name}" for name in SERVER_SIDE]
    loaded = modules_after("\n".join([*imports, "import raymmfl.algorithms"]))
    assert "numpy" in loaded
    heavy = {"torch", "ray", "mlflow", "rasterio", "pyarrow", "matplotlib", "torchmetrics"}
    assert loaded & heavy == set()


def test_the_door_imports_nothing_heavy() -> None:
    loaded = modules_after("import raymmfl, raymmfl.cli")
    assert loaded & {"numpy", "torch", "ray", "mlflow", "rasterio", "pyarrow"} == set()
