from __future__ import annotations

import pytest

from bridge.plugin import places


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    """No test ever touches the user's own keys and connection file; built plug-ins stay where they are."""
    monkeypatch.setenv("DAWBRIDGE_PLUGIN_DIR", str(places.built_folder()))
    monkeypatch.setenv("DAWBRIDGE_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("DAWBRIDGE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path
