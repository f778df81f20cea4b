"""Imports point one way. Each rule is checked against the syntax tree, so nothing needs to be installed."""

import ast
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = sorted(
    path.parent.name for path in ROOT.glob("inference/*/__init__.py") if path.parent.name != "training"
)
HEAVY = (
    "torch",
    "pedalboard",
    "nnAudio",
    "soxr",
    "pretty_midi",
    "fluidsynth",
    "matplotlib",
    "zmq",
    "numpy",
    "mido",
)


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules():
    return {module_name(path): path for top in ("bridge", "inference") for path in (ROOT / top).rglob("*.py")}


def imports(tree, package, name, *, anywhere=True):
    """Names of the modules that `tree` imports; with `anywhere=False`, only when it is itself imported."""
    found = set()
    for node in ast.walk(tree) if anywhere else _at_import(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".") if package else name.split(".")[:-1]
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base]) if base else ".".join(parents)
            # `from bridge import wire` imports bridge.wire: take both readings that exist.
            found |= {base} | {
                f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in ALL
            }
    return found


def _at_import(node):
    """Statements that run on import: not the insides of functions, not `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _at_import(child)


ALL = modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in ALL.items()}


def everything(name, *, anywhere=True):
    return imports(TREES[name], ALL[name].name == "__init__.py", name, anywhere=anywhere)


def matching(pattern):
    return [name for name in ALL if fnmatch(name, pattern)]


def within(name, package):
    return name == package or name.startswith(package + ".")


def reached(start):
    """Every module of ours that importing `start` brings in, and every foreign one."""
    seen, queue = set(), [start]
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in ALL:
            queue += everything(name, anywhere=False)
            queue.append(name.rpartition(".")[0] or name)
    return seen


# (who, must not import): a rule for each line of the map; patterns of module names.
MAY_TRAIN = ("bridge.commands.training", "bridge.commands.rhythm", "bridge.commands.performance")
"""Commands that train and measure, and import what that takes only when they run."""

FORBIDDEN = [
    ("inference*", ["bridge"]),
    ("inference.events", ["numpy", "torch", "inference.streaming"]),
    ("inference.clock", ["torch", "inference.streaming"]),
    ("bridge.wire*", ["bridge.sidecar", "bridge.studio", "bridge.cli", "torch"]),
    ("bridge.sidecar*", ["bridge.studio", "bridge.cli"]),
    ("bridge.studio*", ["bridge.sidecar", "bridge.cli"]),
    ("bridge.errors", ["bridge.wire", "bridge.sidecar", "bridge.studio", "inference", "torch"]),
    ("bridge*", ["inference.training"]),  # but see MAY_TRAIN
    ("inference.layers", ["inference.pipeline", *[f"inference.{room}" for room in ROOMS]]),
    ("inference.features", ["inference.pipeline", *[f"inference.{room}" for room in ROOMS]]),
    ("inference.recording", ["inference"]),
    ("inference.resample", ["inference.pipeline", "torch"]),
]


@pytest.mark.parametrize("pattern, forbidden", FORBIDDEN, ids=[rule[0] for rule in FORBIDDEN])
def test_no_import_goes_the_wrong_way(pattern, forbidden):
    wrong = [
        f"{name} imports {target}"
        for name in matching(pattern)
        for target in everything(name)
        for package in forbidden
        if within(target, package) and (name not in MAY_TRAIN or package != "inference.training")
    ]
    assert not wrong, wrong


def test_events_and_clock_stand_alone():
    allowed = sys.stdlib_module_names | {"numpy"}
    for name in ("inference.events", "inference.clock"):
        assert {target.partition(".")[0] for target in everything(name)} <= allowed


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_common_floor(room):
    floor = ("layers", "features", "streaming", "recording", "events", "clock", "weights", "device", room)
    for name in matching(f"inference.{room}") + matching(f"inference.{room}.*"):
        if name not in reached(f"inference.{room}"):
            continue  # trains or measures; that nothing at run time reaches it is tested below
        for target in everything(name):
            if within(target, "inference") and target != "inference":
                assert target.split(".")[1] in floor, f"{name} imports {target}"


@pytest.mark.parametrize("room", ROOMS)
def test_decoders_know_only_events_and_time(room):
    for name in matching(f"inference.{room}.decode"):
        ours = {target for target in everything(name) if within(target, "inference")}
        allowed = (
            "inference.events",
            "inference.clock",
            f"inference.{room}.config",
            f"inference.{room}.tempi",
            f"inference.{room}.recent",
            f"inference.{room}.verdict",
        )
        assert all(target in allowed for target in ours), f"{name} imports {sorted(ours)}"


def test_training_is_reached_by_nothing_at_run_time():
    starts = [name for name in ALL if within(name, "bridge")] + ["inference.pipeline"]
    starts += [f"inference.{room}" for room in ROOMS if f"inference.{room}" in ALL]
    for start in starts:
        found = {name for name in reached(start) if within(name, "inference.training")}
        assert not found, f"{start} brings in {sorted(found)}"


@pytest.mark.parametrize("name", ["bridge.sidecar.server", "bridge.sidecar.session"])
def test_server_and_session_bring_in_no_tensors(name):
    assert name in ALL
    assert not {"torch", "inference.pipeline", "inference.streaming"} & reached(name)


def test_the_command_line_brings_in_nothing_heavy():
    assert "bridge.cli" in ALL
    found = {name for name in reached("bridge.cli") if name.partition(".")[0] in HEAVY}
    assert not found, sorted(found)


def test_only_weights_opens_files_in_inference():
    opening = {
        "open",
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
        "load_file",
        "safe_open",
        "memmap",
    }
    starts = ["inference.pipeline", *[f"inference.{room}" for room in ROOMS]]
    runs = set().union(*(reached(start) for start in starts))
    assert "inference.resample" in runs and "inference.piano.transcriber" in runs
    for name, tree in TREES.items():
        if name not in runs or not within(name, "inference") or name == "inference.weights":
            continue
        calls = {
            getattr(node.func, "id", getattr(node.func, "attr", ""))
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
        }
        assert not calls & opening, f"{name} opens files: {sorted(calls & opening)}"


def test_nothing_imports_in_a_circle():
    state = {}

    def visit(name, path):
        assert state.get(name) != "open", " -> ".join([*path, name])
        if name not in state:
            state[name] = "open"
            for target in everything(name, anywhere=False):
                # A package and its own modules may refer to each other.
                if target in ALL and not within(name, target) and target != name:
                    visit(target, [*path, name])
            state[name] = "done"

    for name in ALL:
        visit(name, [])


def test_the_rules_can_see(monkeypatch):
    """The checks find what they look for, in every way of writing it."""
    for source in (
        "import inference.training",
        "from inference import training",
        "from inference.training import loop",
        "def f():\n    import inference.training.loop",
        "from .training import loop",
    ):
        found = imports(ast.parse(source), False, "inference.pipeline")
        assert any(within(name, "inference.training") for name in found), source
    quiet = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\ndef f():\n    import torch"
    )
    assert "torch" not in imports(ast.parse(quiet), False, "bridge.cli", anywhere=False)
    assert "torch" in imports(ast.parse(quiet), False, "bridge.cli")
    assert "torch" in imports(
        ast.parse("try:\n    import torch\nexcept ImportError:\n    pass"), False, "x", anywhere=False
    )
    monkeypatch.setitem(TREES, "bridge.errors", ast.parse("import inference.training.loop"))
    assert "inference.training.loop" in reached("bridge.errors")
