"""What all tests of the product need."""

import pytest

from bridge import cli
from bridge.commands import output


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    """No test touches the user's keys, presets, connection file or logs, or writes where it was started."""
    for key in ("RUNTIME", "DATA", "LOG"):
        monkeypatch.setenv(f"DAWBRIDGE_{key}_DIR", str(tmp_path / key.lower()))
    monkeypatch.setenv("DAWBRIDGE_PRESETS", str(tmp_path / "presets"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(output, "quiet", False)


@pytest.fixture
def call(capsys):
    """Run the command line in this process: `(exit code, stdout, stderr)`."""

    def call(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
