"""The plug-in for Windows, built on Linux with Debian's MinGW: VST3 and CLAP, which need nothing but Windows.

ZeroMQ and libsodium are built from Debian's source packages, once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bridge.plugin import build as native
from bridge.plugin import toolchain
from bridge.plugin.places import built_folder

PREFIX = "x86_64-w64-mingw32-"
COMPILER, C_COMPILER = f"{PREFIX}g++-posix", f"{PREFIX}gcc-posix"
FORMATS = ("vst3", "clap")
SYSTEM = ("-lws2_32", "-liphlpapi", "-lrpcrt4", "-ladvapi32")
"""Libraries of Windows itself."""
_CMAKE = f"""\
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_VERSION 10.0)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_C_COMPILER {C_COMPILER})
set(CMAKE_CXX_COMPILER {COMPILER})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
"""


def folder() -> Path:
    """Where what is built for Windows lies."""
    return built_folder() / "windows"


def bundle(name: str) -> Path:
    """The bundle of the format `name`, built or not: copy it to where hosts on Windows look."""
    return folder() / f"dawbridge.{name}"


def binary(name: str, of: Path | None = None) -> Path:
    """The library inside the bundle of the format `name`, or of the bundle `of`."""
    of = of or bundle(name)
    return of / "Contents" / "x86_64-win" / "dawbridge.vst3" if name == "vst3" else of


def needs() -> tuple[toolchain.Need, ...]:
    """All that the build needs, found or not."""
    found = shutil.which(COMPILER) is not None
    compiler = toolchain.Need("a C++ compiler for Windows", "g++-mingw-w64-x86-64-posix", found)
    common = [need for need in toolchain.needs() if need.package not in ("g++", "libsodium-dev")]
    return (compiler, *common)


def build(
    formats: Iterable[str] = FORMATS,
    *,
    jobs: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Build the bundles of `formats`, `vst3` and `clap`; where they are.

    Raises:
        EngineError: something is missing, or does not compile.
    """
    toolchain.check_needs(needs(), "the plug-in for Windows")
    jobs = jobs or os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as made, ThreadPoolExecutor(jobs) as pool:
        scratch = Path(made)
        say("libsodium and ZeroMQ for Windows (built once, about a minute) ...")
        libraries = [_sodium(pool), _zeromq(jobs)]
        framework = native.patched_framework(scratch)
        say("the core ...")
        include = [f"-I{folder() / 'zeromq' / 'include'}"]
        core = list(
            pool.map(lambda source: _compile(source, scratch, "core", include), native.core_sources())
        )
        wanted = list(formats)
        say(f"{', '.join(wanted)} ...")
        return list(pool.map(lambda name: _bundle(name, core, libraries, framework, scratch), wanted))


def _bundle(name: str, core: list[Path], libraries: list[Path], framework: Path, scratch: Path) -> Path:
    fresh = scratch / "fresh" / bundle(name).name
    library = binary(name, fresh)
    library.parent.mkdir(parents=True, exist_ok=True)
    words = [f"-DDISTRHO_PLUGIN_TARGET_{name.upper()}", f"-I{native.HERE / 'shell'}"]
    words += ["-isystem", str(framework / "distrho")]
    shell = [_compile(source, scratch, name, words) for source in native.shell_sources(framework)]
    words = [COMPILER, "-shared", *native.OPTIMISED]
    toolchain.run([*words, *shell, *core, *libraries, *SYSTEM, "-static", "-s", "-o", library])
    bundle(name).parent.mkdir(parents=True, exist_ok=True)
    native.replace(fresh, bundle(name))
    return bundle(name)


def _compile(source: Path, scratch: Path, kind: str, words: list[str]) -> Path:
    target = scratch / f"{kind}-{source.stem}.o"
    warnings = native.WARNINGS[:2] if source.is_relative_to(native.HERE) else ("-w",)
    toolchain.run([COMPILER, *warnings, *native.FLAGS, *words, "-c", source, "-o", target])
    return target


def _sodium(pool: ThreadPoolExecutor) -> Path:
    """The static libsodium; its portable sources need no configuring."""
    target = folder() / "sodium"
    library = target / "libsodium.a"
    if library.exists():
        return library
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as made:
        scratch = Path(made)
        source = toolchain.fetch_source("libsodium", scratch)
        include = source / "src" / "libsodium" / "include"
        shutil.copy(source / "builds" / "msvc" / "version.h", include / "sodium" / "version.h")
        flags = ["-O2", "-w", "-DCONFIGURED=1", "-DSODIUM_STATIC", "-DHAVE_TI_MODE=1"]
        words: list[str | Path] = [C_COMPILER, *flags, f"-I{include}", f"-I{include / 'sodium'}"]

        def compiled(numbered: tuple[int, Path]) -> Path:
            target = scratch / f"{numbered[0]}.o"
            toolchain.run([*words, "-c", numbered[1], "-o", target])
            return target

        objects = list(pool.map(compiled, enumerate(sorted((source / "src").rglob("*.c")))))
        part = scratch / library.name
        toolchain.run([f"{PREFIX}ar", "rcs", part, *objects])
        shutil.copytree(include, target / "include", dirs_exist_ok=True)
        part.replace(library)
    return library


def _zeromq(jobs: int) -> Path:
    """The static ZeroMQ, with the libsodium that is built already."""
    sodium, target = folder() / "sodium", folder() / "zeromq"
    library = target / "libzmq.a"
    if library.exists():
        return library
    (target / "include").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as made:
        scratch = Path(made)
        named = os.environ.get("DAWBRIDGE_ZEROMQ")
        source = Path(named) if named else toolchain.fetch_source("zeromq3", scratch)
        (scratch / "mingw.cmake").write_text(_CMAKE, encoding="utf-8")
        options = toolchain.ZEROMQ_OPTIONS | {
            "CMAKE_TOOLCHAIN_FILE": str(scratch / "mingw.cmake"),
            "SODIUM_INCLUDE_DIRS": str(sodium / "include"),
            "SODIUM_LIBRARIES": str(sodium / "libsodium.a"),
            "CMAKE_CXX_FLAGS": "-DSODIUM_STATIC",
            "ZMQ_HAVE_IPC": "0",  # it asks for a header that MinGW has elsewhere
        }
        words = [f"-D{name}={value}" for name, value in options.items()]
        nothing = {"PKG_CONFIG_LIBDIR": str(scratch)}  # or the libsodium of this machine would be found
        toolchain.run(["cmake", "-S", source, "-B", scratch / "build", *words], environment=nothing)
        toolchain.run(
            ["cmake", "--build", scratch / "build", "--target", "libzmq-static", "--parallel", str(jobs)]
        )
        shutil.copy(source / "include" / "zmq.h", target / "include" / "zmq.h")
        (scratch / "build" / "lib" / "libzmq.a").replace(library)
    return library
