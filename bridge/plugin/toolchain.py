"""What building the plug-in needs, and the static ZeroMQ that goes into it."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import EngineError

log = logging.getLogger(__name__)

DPF = Path(os.environ.get("DAWBRIDGE_DPF", "/usr/share/dpf"))
ZEROMQ_OPTIONS = {
    "WITH_LIBSODIUM": "ON",
    "ENABLE_CURVE": "ON",
    "BUILD_SHARED": "OFF",
    "BUILD_STATIC": "ON",
    "BUILD_TESTS": "OFF",
    "ZMQ_BUILD_TESTS": "OFF",
    "WITH_PERF_TOOL": "OFF",
    "WITH_DOCS": "OFF",
    "ENABLE_DRAFTS": "OFF",
    "WITH_TLS": "OFF",
    "ENABLE_WS": "OFF",
    "WITH_LIBBSD": "OFF",
    "ENABLE_CPACK": "OFF",
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_POSITION_INDEPENDENT_CODE": "ON",
}


@dataclass(frozen=True, slots=True)
class Need:
    """Something that the build cannot do without, and the Debian package that has it."""

    name: str
    package: str
    found: bool


def compiler() -> str:
    """The C++ compiler: `CXX`, or the first of g++ and clang++ that is there."""
    named = os.environ.get("CXX")
    return named or next((name for name in ("g++", "clang++") if shutil.which(name)), "g++")


def sodium() -> Path | None:
    """The static libsodium, which does ZeroMQ's cryptography."""
    folders = ["/usr/lib", "/usr/local/lib", *map(str, Path("/usr/lib").glob("*-linux-gnu"))]
    return next((path for folder in folders if (path := Path(folder) / "libsodium.a").exists()), None)


def needs() -> tuple[Need, ...]:
    """All that the build needs, found or not."""
    programs = [
        ("patch", "patch"),
        ("cmake", "cmake"),
        ("dpkg-source", "dpkg-dev"),
        ("pkg-config", "pkg-config"),
    ]
    return (
        Need("a C++ compiler", "g++", shutil.which(compiler()) is not None),
        *(Need(program, package, shutil.which(program) is not None) for program, package in programs),
        Need("the plug-in framework DPF", "dpf-source", (DPF / "distrho").is_dir()),
        Need("the static libsodium", "libsodium-dev", sodium() is not None),
    )


def check_needs(needs: Iterable[Need], what: str = "the plug-in") -> None:
    """Raise if anything is missing, naming the packages to install."""
    missing = [need for need in needs if not need.found]
    if missing:
        raise EngineError(
            f"{what} cannot be built",
            why="missing: " + ", ".join(need.name for need in missing),
            remedy="Run: sudo apt-get install " + " ".join(need.package for need in missing),
        )


def run(
    command: Sequence[str | Path], folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """Run a program of the build, with more in its environment; its output is shown only if it fails."""
    words = [str(word) for word in command]
    log.info("%s", " ".join(words))
    around = {**os.environ, **(environment or {})}
    done = subprocess.run(words, cwd=folder, env=around, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise EngineError(
            f"{words[0]} failed",
            why=(done.stderr or done.stdout).strip()[-2000:],
            remedy="Run again with -v to see the commands",
        )


def zeromq(folder: Path, jobs: int) -> Path:
    """The static ZeroMQ below `folder`, built at the first call from Debian's source package.

    Debian's own `libzmq.a` does not fit into a plug-in: it is not position-independent. The source
    comes from `DAWBRIDGE_ZEROMQ` (an unpacked source tree), or from the package `zeromq3`.
    """
    library, header = folder / "lib" / "libzmq.a", folder / "include" / "zmq.h"
    if library.exists() and header.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        named = os.environ.get("DAWBRIDGE_ZEROMQ")
        source = Path(named) if named else fetch_source("zeromq3", Path(scratch))
        build = Path(scratch) / "build"
        options = [f"-D{name}={value}" for name, value in ZEROMQ_OPTIONS.items()]
        run(["cmake", "-S", source, "-B", build, *options])
        run(["cmake", "--build", build, "--target", "libzmq-static", "--parallel", str(jobs)])
        for path, origin in ((header, source / "include/zmq.h"), (library, build / "lib/libzmq.a")):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            shutil.copy(origin, part)
            part.replace(path)
    return folder


def fetch_source(package: str, scratch: Path) -> Path:
    """Unpack a Debian source package below `scratch`, without touching the system's package lists."""
    lists, target = scratch / "lists", scratch / package
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    sources = scratch / "debian.sources"
    sources.write_text(_source_entries(), encoding="utf-8")
    apt = [
        "apt-get",
        f"-oDir::Etc::sourcelist={sources}",
        "-oDir::Etc::sourceparts=/dev/null",
        f"-oDir::State::lists={lists}",
        "-oAPT::Sandbox::User=",
        "-oDir::Cache::pkgcache=",
        "-oDir::Cache::srcpkgcache=",
    ]
    run([*apt, "update"], scratch)
    run([*apt, "source", "--download-only", package], scratch)
    description = next(scratch.glob(f"{package}_*.dsc"), None)
    if description is None:
        raise EngineError(
            f"the source package {package} did not come",
            why="no Debian archive that is configured here has it",
            remedy="Try again, or for ZeroMQ set DAWBRIDGE_ZEROMQ to its source",
        )
    run(["dpkg-source", "-x", description, target], scratch)
    return target


def _source_entries() -> str:
    """The machine's own Debian archives, asked for sources instead of programs."""
    entries = []
    for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for stanza in path.read_text(encoding="utf-8").split("\n\n"):
            if "Types: deb" in stanza and " main" in stanza:
                entries.append(stanza.replace("Types: deb", "Types: deb-src", 1).strip())
    for path in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.list")]:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for line in lines:
            words = line.split()
            if len(words) >= 4 and words[0] == "deb" and not words[1].startswith("[") and "main" in words:
                entries.append(f"Types: deb-src\nURIs: {words[1]}\nSuites: {words[2]}\nComponents: main")
    if not entries:
        raise EngineError(
            "no Debian archive is configured",
            why="the source of ZeroMQ would come from there",
            remedy="Set DAWBRIDGE_ZEROMQ to an unpacked ZeroMQ 4.3 source",
        )
    return "\n\n".join(entries) + "\n"
