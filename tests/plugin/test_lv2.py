"""The LV2: its description, and what it plays in jalv under JACK without a sound card."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from contextlib import ExitStack

import pytest

from bridge.wire.client import Client
from tests.plugin import native

URI = "urn:dawbridge:plugin"


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed here; install jackd2, jalv, lv2-dev and sordi")


def test_the_description_is_valid():
    need("lv2_validate")
    bundle = native.built("lv2")
    done = subprocess.run(["lv2_validate", *bundle.glob("*.ttl")], capture_output=True, text=True)
    assert done.returncode == 0 and "Found 0 errors" in done.stdout + done.stderr, done.stdout + done.stderr


def test_the_description_has_midi_out_latency_and_freewheel():
    text = (native.built("lv2") / "dawbridge.ttl").read_text()
    assert "midi:MidiEvent" in text or "midi/MidiEvent" in text or "midi#MidiEvent" in text
    assert "lv2:reportsLatency" in text and "lv2:designation lv2:freeWheeling" in text


@pytest.fixture
def jack(monkeypatch):
    """A JACK server without a sound card, 256 samples at 48 kHz."""
    need("jackd", "jalv", "jack_lsp", "jack_connect")
    if not os.path.exists("/usr/include/jack/jack.h"):
        pytest.skip("the JACK headers are not installed here; install libjack-jackd2-dev")
    monkeypatch.setenv("JACK_DEFAULT_SERVER", f"dawbridge-{os.getpid()}")
    command = [
        "jackd",
        "-n",
        os.environ["JACK_DEFAULT_SERVER"],
        "-r",
        "-d",
        "dummy",
        "-r",
        "48000",
        "-p",
        "256",
    ]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for_ports("system:playback_1")
        yield server
    finally:
        server.terminate()
        server.wait(10)


def listed_ports() -> list[str]:
    try:
        return subprocess.run(["jack_lsp"], capture_output=True, text=True, timeout=5).stdout.split()
    except subprocess.TimeoutExpired:  # now and then it never returns, while another client begins
        return []


def wait_for_ports(*wanted: str) -> list[str]:
    deadline = time.monotonic() + 15
    while True:
        ports = listed_ports()
        if all(any(re.fullmatch(name, port) for port in ports) for name in wanted):
            return ports
        assert time.monotonic() < deadline, (wanted, ports)
        time.sleep(0.05)


def probe(stack: ExitStack, *words: object) -> subprocess.Popen[str]:
    sources = [native.SOURCES / "tests" / "jack_probe.cpp"]
    program = native.compiled("jack_probe", sources, ["-O1"], zeromq=False, libraries=["-ljack"])
    command = [str(word) for word in (program, *words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    stack.callback(process.wait, 30)
    assert process.stdout.readline() == "ready\n"
    return process


def jalv(stack: ExitStack) -> subprocess.Popen[str]:
    environment = {**os.environ, "LV2_PATH": f"{native.built('lv2').parent}:/usr/lib/lv2"}
    process = subprocess.Popen(
        ["stdbuf", "-oL", "jalv", "-n", "dawbridge", URI],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    stack.callback(process.wait, 10)
    stack.callback(process.terminate)
    return process


def test_midi_in_jack_is_exact_to_the_sample_and_stop_means_silence(jack):
    with native.sidecar("tests.plugin.serving"), ExitStack() as stack:
        with Client(48_000, 2, max_block=256) as client:
            latency = client.wait_ready().latency.total
        host = jalv(stack)
        ports = wait_for_ports("dawbridge:.*in_1", "dawbridge:.*in_2", "dawbridge:.*events_out")
        capture = probe(stack, "midi", 6)
        clicks = probe(stack, "clicks", 5, 3.1)
        for port in ports:
            if re.fullmatch("dawbridge:.*in_[12]", port) and "event" not in port:
                subprocess.run(["jack_connect", "clicks:out", port], check=True)
            if re.fullmatch("dawbridge:.*events_out", port):
                subprocess.run(["jack_connect", port, "capture:in"], check=True)
        lines = [line.split() for line in capture.communicate(timeout=30)[0].splitlines()]
        stopped = int(clicks.communicate(timeout=30)[0].split()[1])
        monitors = host.communicate("monitors\nquit\n", timeout=10)[0]
    midi = [tuple(int(word) for word in line) for line in lines]
    ons = [at for at, status, *_ in midi if status & 0xF0 == 0x90]
    assert len(ons) >= 12, "a note for each click, before and after the stop"
    late = [at for at in ons if (at - latency) % 12_000 != 0]
    assert len(late) <= 1, f"not at onset + {latency}: {[(at - latency) % 12_000 for at in late]}"
    panics = [at for at, status, number, _ in midi if status & 0xF0 == 0xB0 and number == 123]
    assert len(panics) >= 1 and min(abs(at - stopped) for at in panics) < 4 * 256
    sounding = set()
    for _, status, pitch, _ in midi:
        if status & 0xF0 == 0x90:
            sounding.add(pitch)
        elif status & 0xF0 == 0x80:
            sounding.discard(pitch)
    assert not sounding
    values = {name: float(value) for name, value in re.findall(r"(\w+) = ([\d.]+)", monitors)}
    assert values["connected"] == 1 and values["velocity"] == 1 and values["dropped"] == 0, monitors
    assert "dynamics" in values and "tempo" in values and "late" in values
