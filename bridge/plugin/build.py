"""Builds the plug-in: the core once, the shell once for each format, linked with a static ZeroMQ."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bridge.errors import EngineError
from bridge.plugin import toolchain
from bridge.plugin.places import FORMATS, binary, built_folder, bundle

HERE = Path(__file__).parent
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic")
OPTIMISED = ("-O2", "-flto=auto")
"""Of compiler and linker: what the audio thread runs through comes to lie together."""
FLAGS = (
    "-std=c++17",
    *OPTIMISED,
    "-fPIC",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-DNDEBUG",
    "-DZMQ_STATIC",
)
SYMBOLS = {"vst3": "vst3", "clap": "clap", "lv2": "lv2"}


def build(
    formats: Iterable[str] = FORMATS,
    *,
    jobs: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Build the bundles of `formats`; where they are.

    Args:
        formats: of `vst3`, `clap`, `lv2`.
        jobs: compilers at a time; `None` = one for each processor.
        say: told what is being done.
    """
    if sys.platform != "linux":
        raise EngineError(
            "the plug-in is built on Linux only, so far",
            why="the sources are portable, this script is not",
            remedy="Compile bridge/plugin with DPF by hand; bridge/plugin/README.md says how",
        )
    toolchain.check_needs(toolchain.needs())
    jobs = jobs or os.cpu_count() or 1
    folder = built_folder()
    say("ZeroMQ (built once, about a minute) ...")
    zeromq = toolchain.zeromq(folder / "zeromq", jobs)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(jobs) as pool:
        framework = patched_framework(Path(scratch))
        say("the core ...")
        core = list(pool.map(lambda source: compile_core(source, Path(scratch), zeromq), core_sources()))
        wanted = list(formats)
        say(f"{', '.join(wanted)} ...")
        jobs_done = pool.map(lambda name: _bundle(name, core, framework, zeromq, Path(scratch)), wanted)
        return list(jobs_done)


def core_sources() -> list[Path]:
    """The sources of the core."""
    return sorted((HERE / "core").glob("*.cpp"))


def compile_core(source: Path, scratch: Path, zeromq: Path, flags: Iterable[str] = FLAGS) -> Path:
    """Compile one source of the core or its tests to an object file below `scratch`."""
    target = scratch / f"{source.parent.name}-{source.stem}.o"
    toolchain.run(
        [toolchain.compiler(), *WARNINGS, *flags, f"-I{zeromq / 'include'}", "-c", source, "-o", target]
    )
    return target


def patched_framework(scratch: Path) -> Path:
    """A copy of DPF that tells of offline rendering, recording, looping and unrounded positions."""
    target = scratch / "dpf"
    shutil.copytree(toolchain.DPF / "distrho", target / "distrho", symlinks=False)
    shutil.copytree(toolchain.DPF / "utils" / "symbols", target / "symbols")
    toolchain.run(["patch", "-p1", "--forward", "-i", HERE / "shell" / "dpf.patch"], target)
    return target


def _bundle(name: str, core: list[Path], framework: Path, zeromq: Path, scratch: Path) -> Path:
    """Compile and link one format, and put its bundle in place at one stroke."""
    fresh = scratch / "fresh" / bundle(name).name
    library = binary(name, fresh)
    library.parent.mkdir(parents=True, exist_ok=True)
    objects = [_compile_shell(source, name, framework, scratch) for source in shell_sources(framework)]
    _link(library, [*objects, *core], framework / "symbols" / f"{SYMBOLS[name]}.version", zeromq)
    if name == "lv2":
        _describe_lv2(library)
    target = bundle(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    replace(fresh, target)
    return target


def shell_sources(framework: Path) -> tuple[Path, Path]:
    """The sources that are compiled once for each format: ours, and the framework's."""
    return HERE / "shell" / "plugin.cpp", framework / "distrho" / "DistrhoPluginMain.cpp"


def _compile_shell(source: Path, name: str, framework: Path, scratch: Path) -> Path:
    target = scratch / f"{name}-{source.stem}.o"
    own = source.is_relative_to(HERE)
    system = "-I" if own else "-isystem"  # warnings of the framework are not ours
    includes = [system, str(framework / "distrho"), f"-I{HERE / 'shell'}"]
    warnings = WARNINGS[:2] if own else ("-w",)
    define = f"-DDISTRHO_PLUGIN_TARGET_{name.upper()}"
    toolchain.run([toolchain.compiler(), *warnings, *FLAGS, define, *includes, "-c", source, "-o", target])
    return target


def _link(library: Path, objects: list[Path], symbols: Path, zeromq: Path) -> None:
    """A library that needs nothing but the C and math library, and shows nothing but its factory."""
    kind = ["-shared", "-fPIC", *OPTIMISED]
    static = [
        "-static-libgcc",
        "-static-libstdc++",
        "-Wl,--exclude-libs,ALL",
        f"-Wl,--version-script={symbols}",
    ]
    sober = ["-Wl,--no-undefined", "-Wl,--gc-sections", "-Wl,--as-needed", "-Wl,-z,relro,-z,now", "-s"]
    libraries: list[str | Path] = [
        zeromq / "lib" / "libzmq.a",
        toolchain.sodium() or Path("libsodium.a"),
        "-lpthread",
        "-ldl",
        "-lm",
    ]
    command: list[str | Path] = [toolchain.compiler(), *kind, *static, *sober, *objects, *libraries]
    toolchain.run([*command, "-o", library])


def _describe_lv2(library: Path) -> None:
    """Have the plug-in write its own description, and name the port of the host's freewheeling."""
    call = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).lv2_generate_ttl(b'dawbridge')"
    toolchain.run([sys.executable, "-c", call, library], library.parent)
    path = library.parent / "dawbridge.ttl"
    text = path.read_text(encoding="utf-8")
    symbol = 'lv2:symbol "freewheel" ;'
    if text.count(symbol) != 1:
        raise EngineError("the LV2 description is not as expected", why=f"no {symbol} in {path}")
    text = text.replace(symbol, f"{symbol}\n        lv2:designation lv2:freeWheeling ;")
    lines = [
        line for line in text.splitlines() if not line.lstrip().startswith("mod:")
    ]  # not LV2's own words
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def replace(fresh: Path, target: Path) -> None:
    """Put a file or folder in the place of another; a host that has the old one loaded keeps it."""
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
    shutil.copytree(fresh, part) if fresh.is_dir() else shutil.copy(fresh, part)
    if target.is_dir():
        shutil.rmtree(target)
    part.replace(target)


def needed_libraries(library: Path) -> list[str]:
    """The shared libraries that a built plug-in asks for."""
    text = subprocess.run(["readelf", "-d", str(library)], capture_output=True, text=True, check=True).stdout
    return [line.split("[")[1].rstrip("]") for line in text.splitlines() if "(NEEDED)" in line]
