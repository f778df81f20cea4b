"""Small programs around the core, such as the host without a screen: compiled when first needed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from bridge.errors import EngineError
from bridge.plugin import build, places, toolchain

SOURCES = Path(__file__).parent


def compiled(
    name: str, sources: Sequence[Path], flags: Sequence[str], *, zeromq: bool, libraries: Sequence[str] = ()
) -> Path:
    """The program made of `sources`; kept beside the built plug-ins until a source changes.

    Raises:
        EngineError: there is no compiler, or ZeroMQ was not built yet.
    """
    if shutil.which(toolchain.compiler()) is None:
        raise EngineError("no C++ compiler here", remedy="Install g++")
    library = places.built_folder() / "zeromq"
    if zeromq and not (library / "lib" / "libzmq.a").exists():
        raise EngineError("the static ZeroMQ is not built here", remedy="Run: dawbridge plugin build")
    texts = [p.read_bytes() for p in sorted([*SOURCES.glob("core/*"), *SOURCES.glob("tests/*")])]
    state = hashlib.sha256(b"\0".join([" ".join(flags).encode(), *texts])).hexdigest()[:16]
    program = places.built_folder() / "tests" / f"{name}-{state}"
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    for old in program.parent.glob(f"{name}-*"):
        old.unlink()
    linked = [library / "lib" / "libzmq.a", toolchain.sodium() or "libsodium.a", "-ldl"] if zeromq else []
    part = program.with_suffix(".part")
    command = [toolchain.compiler(), "-std=c++17", "-Wall", "-Wextra", "-Werror", *flags]
    words = [f"-I{library / 'include'}", *sources, *linked, *libraries, "-pthread", "-o", part]
    toolchain.run([*command, *words])
    part.replace(program)
    return program


def fake_host() -> Path:
    """The host without a screen; its source says what it can do."""
    sources = [*build.core_sources(), SOURCES / "tests" / "guard.cpp", SOURCES / "tests" / "fake_host.cpp"]
    return compiled(
        "fake_host", sources, [*build.OPTIMISED, "-fvisibility=hidden", "-DZMQ_STATIC"], zeromq=True
    )
