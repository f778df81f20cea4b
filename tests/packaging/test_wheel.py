"""What is installed is what is here: a wheel in a clean environment, with presets, weights and command."""

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the files that git knows, as a release is."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    # With hatchling here (it is among the test extras) nothing has to be fetched.
    offline = ["--no-build-isolation"] if find_spec("hatchling") else []
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *offline, "-w", folder, source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A new environment with the wheel alone; what it depends on is borrowed from this one."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    run(
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        wheel,
    )
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "zz-borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    return folder


@pytest.fixture
def environment(tmp_path):
    folders = {f"DAWBRIDGE_{key}_DIR": str(tmp_path / key) for key in ("RUNTIME", "DATA", "LOG")}
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | folders | {"DAWBRIDGE_PRESETS": str(tmp_path / "presets"), "OMP_NUM_THREADS": "1"}


def test_the_wheel_holds_presets_weights_licence_and_protocol(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for layer in ("systems/piano", "latency/live", "latency/offline", "instruments/grand-piano"):
        assert f"bridge/presets_data/{layer}.toml" in names
    assert "bridge/wire/PROTOCOL.md" in names
    weights = [name for name in names if name.endswith(".safetensors")]
    assert weights and all(name.startswith("inference/weights/") for name in weights)
    assert "inference/weights/SHA256SUMS" in names
    assert not any("curves" in name for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    tops = {name.split("/")[0] for name in names}
    assert tops - {"bridge", "inference"} == {next(t for t in tops if t.endswith(".dist-info"))}


def test_the_installed_command_runs_anywhere(installed, environment, tmp_path):
    command = installed / "bin" / "dawbridge"
    assert "dawbridge, version" in run(command, "--version", cwd=tmp_path, env=environment)
    where = run(installed / "bin" / "python", "-c", "import bridge; print(bridge.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed), "the wheel is tested, not the source"
    presets = json.loads(run(command, "presets", "list", "--json", cwd=tmp_path, env=environment))
    assert {"live", "offline", "grand-piano"} <= {preset["name"] for preset in presets}
    assert all(Path(preset["path"]).is_relative_to(installed) for preset in presets)
    systems = json.loads(run(command, "systems", "--json", cwd=tmp_path, env=environment))
    assert systems["weights"] and systems["systems"]


def test_the_installed_demo_does_the_main_job(installed, environment, tmp_path):
    out = run(installed / "bin" / "dawbridge", "demo", "-o", "out", "--json", cwd=tmp_path, env=environment)
    done = json.loads(out)
    assert done["hits"] > done["misses"]
    assert [Path(name).suffix for name in done["files"]] == [".wav", ".mid", ".png"]
    assert all((tmp_path / name).stat().st_size > 500 for name in done["files"])


def test_every_package_we_import_is_declared():
    """Each third-party module that the code imports belongs to a distribution that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["dependencies"] + [
        item for extra in project["optional-dependencies"].values() for item in extra
    ]
    names = {re.split(r"[<>=\[ ]", item)[0].lower().replace("_", "-") for item in declared}
    owners = metadata.packages_distributions() | {"rtmidi": ["python-rtmidi"], "fluidsynth": ["pyfluidsynth"]}
    for path in [*ROOT.glob("bridge/**/*.py"), *ROOT.glob("inference/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found = [node.module]
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
                found = [word.value for word in node.args if isinstance(word, ast.Constant)]
            for module in (name.partition(".")[0] for name in found):
                if module in sys.stdlib_module_names or module in ("bridge", "inference"):
                    continue
                owner = {name.lower().replace("_", "-") for name in owners.get(module, [module])}
                assert owner & names, f"{path.name} imports {module}, which pyproject.toml does not name"


def test_the_pinned_torch_is_in_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = [Requirement(item) for item in project["dependencies"] if item.startswith("torch")]
    pins = [
        line for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines() if line[:5] == "torch"
    ]
    (version,) = [pin.split("==")[1] for pin in pins]
    assert wanted.specifier.contains(version)
