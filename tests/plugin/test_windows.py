"""The plug-in for Windows, built here and run under Wine, beside a sidecar outside of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge.plugin import toolchain, windows
from bridge.plugin.build import core_sources
from bridge.wire.client import Client
from bridge.wire.connection import connection_file
from tests.plugin import native

WINE = shutil.which("wine64") or "/usr/lib/wine/wine64"
OF_WINDOWS = {"ADVAPI32.dll", "IPHLPAPI.DLL", "KERNEL32.dll", "msvcrt.dll", "WS2_32.dll"}


def path_in_wine(path: Path) -> str:
    return "Z:" + str(path).replace("/", "\\")


@pytest.fixture(scope="module")
def built():
    """The folder of the plug-in for Windows."""
    with native.or_skip():
        windows.build()
    return windows.folder()


@pytest.fixture(scope="module")
def wine(built, tmp_path_factory):
    """Runs one of our hosts under Wine: its name and words, then its output."""
    if not Path(WINE).exists():
        pytest.skip("no Wine here; install wine64")
    place = tmp_path_factory.mktemp("wine")
    environment = {**os.environ, "WINEPREFIX": str(place / "prefix"), "WINEDEBUG": "-all"}
    environment["DAWBRIDGE_RUNTIME_DIR"] = path_in_wine(place)
    environment.pop("DISPLAY", None)
    headers = toolchain.DPF / "distrho" / "src"

    def run(name: str, *words: object) -> str:
        host = place / f"{name}.exe"
        if not host.exists():
            source = native.SOURCES / "tests" / f"{name}.cpp"
            flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-isystem{headers}"]
            subprocess.run([windows.COMPILER, *flags, source, "-static", "-o", host], check=True)
        command = [WINE, host, *map(str, words)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout.replace("\r", "")

    subprocess.run([WINE, "wineboot", "-i"], env=environment, capture_output=True, timeout=120)
    yield run
    subprocess.run([Path(WINE).with_name("wineserver"), "-k"], env=environment, timeout=60)


def test_the_core_compiles_without_a_warning(built, tmp_path):
    headers = built / "zeromq" / "include"
    for source in core_sources():
        command = [
            windows.COMPILER,
            "-std=c++17",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-DZMQ_STATIC",
            f"-I{headers}",
        ]
        subprocess.run([*command, "-c", source, "-o", tmp_path / "object"], check=True)


def test_it_needs_nothing_but_windows(built):
    for name in windows.FORMATS:
        command = [f"{windows.PREFIX}objdump", "-p", windows.binary(name)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert {line.split()[-1] for line in text.splitlines() if "DLL Name" in line} <= OF_WINDOWS


def test_the_vst3_opens(wine):
    assert wine("vst3_loads", path_in_wine(windows.binary("vst3"))).strip() == "classes 1"


def test_what_validators_ask(wine):
    assert "9 tests, 0 failures" in wine("clap_checks", path_in_wine(windows.binary("clap")))


@pytest.mark.parametrize("offline", [True, False], ids=["offline", "live"])
def test_notes_come_at_onset_plus_latency_to_the_sample(wine, offline):
    with native.sidecar():
        with Client(48_000, 2, max_block=256) as client:
            promised = client.wait_ready().latency.total
        words = path_in_wine(windows.binary("clap")), 4, 256, int(offline), path_in_wine(connection_file())
        for _ in range(3):  # on a busy machine Wine may take longer to connect than a host is kept waiting
            played = native.Played(wine("clap_host", *words))
            if played.latency:
                break
    assert played.latency == promised and played.wrong == 0
    due = [at for at in range(24_000, 4 * 48_000, 12_000) if at + promised < 4 * 48_000]
    heard = [at - promised for at, _ in played.ons]
    if offline:
        assert heard == due
    else:  # a busy machine may be late with a note, or begin to listen after the first ones; never early
        assert len(set(due) & set(heard)) > len(due) / 4 and min(heard) >= due[0] and len(heard) <= len(due)
