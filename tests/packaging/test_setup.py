"""The first command of a new user: no CUDA unasked, a CPU build where there is one, what is there is kept."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIN = next(
    line.split("==")[1]
    for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    if line.startswith("torch==")
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="for Debian and Ubuntu")


@pytest.fixture
def registry(tmp_path):
    """A folder of empty packages, offered to pip as the only ones in the world."""
    folder = tmp_path / "registry"
    folder.mkdir()

    def offer(name, version, requires=()):
        info = f"{name}-{version}.dist-info"
        metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        metadata += [f"Requires-Dist: {package}" for package in requires]
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")

    offer("nvidia_cublas", "13.0")
    offer("torch", PIN, ["nvidia-cublas"])
    return offer


@pytest.fixture
def setup(tmp_path):
    """Run `.ci/setup --only` against the registry; with nothing else to be had, it ends after torch."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ldconfig").write_text("#!/bin/sh\necho libfluidsynth.so.3\n")  # so that apt is left alone
    (tools / "ldconfig").chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PIP_") and k != "GPU"}
    world = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "registry")}
    world |= {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "VENV": str(tmp_path / "venv"),
        "PYTHON": sys.executable,
    }

    def setup(**extra):
        return subprocess.run(
            [ROOT / ".ci" / "setup", "--only"],
            env=kept | world | extra,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return setup


def installed(tmp_path):
    return sorted(path.name for path in (tmp_path / "venv").glob("lib/*/site-packages/*.dist-info"))


def test_cuda_is_refused_with_a_remedy(registry, setup, tmp_path):
    done = setup()
    assert done.returncode == 1
    for words in ("only torch with CUDA", "PIP_EXTRA_INDEX_URL", "GPU=1"):
        assert words in done.stderr
    assert not [name for name in installed(tmp_path) if name.startswith(("torch", "nvidia"))]


@pytest.mark.slow
def test_cuda_comes_when_asked_for(registry, setup, tmp_path):
    assert "only torch with CUDA" not in setup(GPU="1").stderr
    assert {f"torch-{PIN}.dist-info", "nvidia_cublas-13.0.dist-info"} <= set(installed(tmp_path))


@pytest.mark.slow
def test_a_cpu_build_is_taken_and_then_kept(registry, setup, tmp_path):
    registry("torch", f"{PIN}+cpu")
    setup()
    assert f"torch-{PIN}+cpu.dist-info" in installed(tmp_path)
    assert not [name for name in installed(tmp_path) if name.startswith("nvidia")]
    again = setup()
    assert f"Keeping torch {PIN}+cpu" in again.stderr


@pytest.mark.slow
def test_a_torch_without_cuda_needs_no_special_name(registry, setup, tmp_path):
    registry("torch", PIN)
    setup()
    assert f"torch-{PIN}.dist-info" in installed(tmp_path)
