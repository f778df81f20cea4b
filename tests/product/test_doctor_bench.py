"""The doctor finds what is wrong, and the bench measures what it says."""

import json
import os
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from bridge import bench, cli, doctor
from bridge.bench import Bench, Measure, StepTimes
from bridge.errors import EngineError, InputError
from bridge.presets import Preset
from tests.fakes import ClickTranscriber


def check(name):
    (finding,) = [finding for finding in doctor.examine() if finding.name == name]
    return finding


def only(monkeypatch, name):
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name]})


def test_all_is_well_here(capsys):
    code = cli.run(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    verdicts = {item["name"]: item["verdict"] for item in found["checks"]}
    assert code == 0 and found["failed"] == 0, found
    assert set(verdicts) == set(doctor.CHECKS)
    for name in ("python", "packages", "presets", "weights", "curve", "keys", "piano"):
        assert verdicts[name] == "ok", found


def test_a_damaged_preset_fails_and_sets_the_exit_code(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "presets" / "latency"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text("chunk_mss = 3")
    only(monkeypatch, "presets")
    assert cli.run(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("fail") and "mine.toml" in printed and "do: Did you mean chunk_ms" in printed


def test_a_piano_that_is_gone_is_a_warning(tmp_path, monkeypatch):
    folder = tmp_path / "presets" / "instruments"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('render = { plugin = "/nowhere/Piano.vst3" }')
    only(monkeypatch, "presets")
    assert check("presets").verdict == "warn" and "/nowhere/Piano.vst3" in check("presets").found
    (tmp_path / "Piano.sf2").touch()
    (folder / "mine.toml").write_text(f'render = {{ soundfont = "{tmp_path}/Piano.sf2" }}')
    assert check("presets").verdict == "ok" and "1 of your own" in check("presets").found


def test_keys_that_others_can_read_fail(tmp_path, monkeypatch):
    from bridge.wire.security import key_pair, keys_folder

    key_pair("server")
    only(monkeypatch, "keys")
    assert check("keys").verdict == "ok"
    (file, *_) = keys_folder().iterdir()
    os.chmod(file, 0o644)
    assert check("keys").verdict == "fail" and f"chmod 600 {file}" in check("keys").remedy


def test_a_dead_sidecar_is_a_warning(monkeypatch):
    from bridge.wire.connection import connection_file
    from bridge.wire.folders import write_secret

    only(monkeypatch, "sidecar")
    assert check("sidecar").verdict == "ok"
    write_secret(connection_file(), b"{}")
    assert check("sidecar").verdict == "warn" and check("sidecar").remedy


def test_damaged_weights_fail(monkeypatch):
    def damaged(name):
        raise RuntimeError(f"{name} is damaged")

    monkeypatch.setattr("inference.weights.read", damaged)
    only(monkeypatch, "weights")
    assert check("weights").verdict == "fail" and "is damaged" in check("weights").found


def test_a_slow_machine_is_told(monkeypatch):
    only(monkeypatch, "speed")
    monkeypatch.setattr(Preset, "transcriber", lambda preset: ClickTranscriber())
    assert check("speed").verdict == "ok"
    slow = StepTimes(20.0, (15.0,) * 98 + (30.0,) * 2)
    monkeypatch.setattr(bench, "step_times", lambda *args, **kwargs: slow)
    assert check("speed").verdict == "warn"
    monkeypatch.setattr(bench, "step_times", lambda *args, **kwargs: replace(slow, times_ms=(21.0,) * 9))
    assert check("speed").verdict == "fail" and "bounce" in check("speed").remedy


def test_a_missing_package_fails(monkeypatch):
    only(monkeypatch, "packages")
    monkeypatch.setattr(doctor, "PACKAGES", (*doctor.PACKAGES, "no-such-package"))
    assert check("packages").verdict == "fail" and "pip install no-such-package" in check("packages").remedy


def test_a_check_that_breaks_is_a_failure_and_the_others_go_on(monkeypatch):
    def broken(name):
        raise EngineError("it broke", why="of a reason", remedy="Mend it")

    monkeypatch.setattr(doctor, "CHECKS", {"one": broken, "curve": doctor.CHECKS["curve"]})
    one, two = doctor.examine()
    assert (one.verdict, one.found, one.remedy) == ("fail", "it broke of a reason", "Mend it")
    assert two.verdict == "ok"


def test_step_times_count_steps_of_the_right_length():
    transcriber = ClickTranscriber()
    times = bench.step_times(transcriber, 100.0, seconds=2.0, rate=44_100)
    assert times.chunk_ms == 100.0 and len(times.times_ms) == 20
    assert set(transcriber.calls) == {(1, 1_600)} and len(transcriber.calls) >= 25
    assert 0 < times.p50_ms <= times.p99_ms <= max(times.times_ms)


@pytest.mark.parametrize("q, wanted", [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_quantiles(q, wanted):
    assert StepTimes(20.0, tuple(range(100, 0, -1))).quantile(q) == wanted


def test_measures_know_their_target_and_their_baseline():
    slower = Measure("x", 1.3, "ms", 1.0)
    assert not slower.reached and slower.worse_than(1.0) and not slower.worse_than(1.2)
    faster = Measure("y", 14, "x", 15, lower=False)
    assert not faster.reached and faster.worse_than(20) and not faster.worse_than(15)
    assert Measure("z", 1e9, "").reached
    assert slower.row == ["x", "1.3 ms", "<= 1, missed"] and faster.row == ["y", "14 x", ">= 15, missed"]
    assert Measure("z", 1 / 3, "").row == ["z", "0.333", ""]
    assert Measure("z", 2, "s", 3).row == ["z", "2 s", "<= 3"]


def test_baseline_round_trip_and_comparison(tmp_path, monkeypatch, capsys):
    measured = Bench(
        {"cores": 1}, [Measure("step", 10.0, "ms", 20.0), Measure("bounce", 30.0, "x", lower=False)]
    )
    monkeypatch.setattr(bench, "run", lambda *args: measured)
    path = tmp_path / "before.json"
    assert cli.run(["bench", "--save", str(path)]) == 0
    assert bench.read_baseline(path) == {"step": 10.0, "bounce": 30.0}
    capsys.readouterr()
    assert cli.run(["bench", "--baseline", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "measure  value  target  before",
        "step     10 ms  <= 20   10",
        "bounce   30 x           30",
    ]
    measured.measures[0] = Measure("step", 13.0, "ms", 20.0)
    capsys.readouterr()
    assert cli.run(["bench", "--baseline", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["worse"] == ["step"]
    path.write_text("[]")
    with pytest.raises(InputError):
        bench.read_baseline(path)


def test_a_plot_shows_the_steps_of_each_system(tmp_path, monkeypatch):
    drawn, save = [], Figure.savefig

    def keep(figure, *args, **kwargs):
        drawn.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    live = StepTimes(20.0, tuple(float(i % 7 + 1) for i in range(200)))
    offline = StepTimes(2_000.0, (80.0, 90.0, 100.0))
    bench.plot(Bench({}, steps={"piano, live": live, "piano, offline": offline}), tmp_path / "steps.png")
    assert (tmp_path / "steps.png").read_bytes().startswith(b"\x89PNG")
    ((one, two),) = (figure.axes for figure in drawn)
    assert one.get_title(loc="left") == "piano, live: 200 steps of 20 ms"
    assert two.get_title(loc="left") == "piano, offline: 3 steps of 2000 ms"
    for axes, times in ((one, live), (two, offline)):
        assert sum(bar.get_height() for bar in axes.patches) == len(times.times_ms)
        assert axes.lines[0].get_xdata()[0] == times.p99_ms


@pytest.mark.slow
def test_the_whole_bench_measures_everything_promised(tmp_path):
    result = bench.run(quick=True)
    names = " ".join(measure.name for measure in result.measures)
    for promised in (
        "live: real-time factor",
        "live: step p99",
        "bounce",
        "render",
        "round trip p50",
        "help",
        "serve ready",
        "16 streams of one host: late answers",
        "16 streams of 16 hosts: late answers",
        "memory of a bounce, 5 min",
        "memory per extra session",
    ):
        assert promised in names
    assert all(measure.value >= 0 for measure in result.measures)
