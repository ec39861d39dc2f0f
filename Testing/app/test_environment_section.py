"""First use: what is missing is told, installed with consent through Slicer's own tools, and the worker asked."""

from __future__ import annotations

import sys
import types

import pytest
import slicer
import slicer.util
from driving import settle, wait_for


@pytest.fixture()
def installation(monkeypatch, panel):
    """A Python without numba and torch, and Slicer's tools that would install them; (installed, calls)."""
    from DiffPoseRegistrationLib.app import environment

    installed = {"pydicom": "3.0.1", "safetensors": "0.4.1", "Pillow": "10.2", "numpy": "2.4"}
    calls = []
    monkeypatch.setattr(environment, "installed_version", installed.get)
    monkeypatch.setattr(environment, "_all_versions", lambda: dict(installed))
    packaging = types.ModuleType("slicer.packaging")

    def pip_install(requirements, requester=None):
        calls.append(requirements)
        installed.update({requirement.split(">=")[0]: "99" for requirement in requirements})

    packaging.pip_install = pip_install
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(slicer, "packaging", packaging, raising=False)

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation):
            assert askConfirmation is False  # it was asked before
            installed["torch"] = "2.7"
            return object()

    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    restarts = []
    monkeypatch.setattr(slicer.util, "restart", lambda: restarts.append(True), raising=False)
    return types.SimpleNamespace(installed=installed, calls=calls, restarts=restarts)


def open_section(panel):
    panel.ui.environmentCollapsibleButton.collapsed = False
    settle()


def test_missing_packages_are_named_and_installed(panel, installation):
    open_section(panel)
    assert panel.ui.environmentLabel.text == "Missing: numba>=0.61, torch."
    assert panel.ui.installButton.enabled
    panel.ui.installButton.click()
    settle()
    kind, question = slicer.app.messages[-1]
    assert kind == "confirmOkCancelDisplay" and "numba" in question and "torch" in question
    assert installation.calls == [["numba>=0.61"]] and installation.installed["torch"] == "2.7"
    assert "All packages are installed" in panel.ui.environmentLabel.text
    assert not panel.ui.installButton.enabled and not installation.restarts


def test_declined(panel, installation):
    open_section(panel)
    slicer.app.answers.append(False)
    panel.ui.installButton.click()
    settle()
    assert not installation.calls and "Missing" in panel.ui.environmentLabel.text


def test_first_use_asks_before_the_job(panel, installation, slicer_app, shared):
    from cases import load_case
    from DiffPoseRegistrationLib.errors import InputError

    case = load_case(shared, "skull_phantom-00")
    panel.ui.ctSelector.setCurrentNode(case.ct)
    settle()
    slicer.app.answers.append(False)
    panel.ui.simulateButton.click()
    assert slicer.app.messages[-1][0] == "confirmOkCancelDisplay"
    assert not panel.logic.is_busy and panel.ui.simulateButton.enabled
    with pytest.raises(InputError, match=r"numba.*torch.*Environment"):  # the console cannot ask
        panel.logic.simulateXRay(case.ct)


def test_pytorch_extension_is_not_there(panel, installation, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    open_section(panel)
    panel.ui.installButton.click()
    assert slicer.app.messages[-1][0] == "warningDisplay" and "PyTorch extension" in slicer.app.messages[-1][1]


def test_pip_fails(panel, installation, monkeypatch):
    def fails(requirements, requester=None):
        raise RuntimeError("pip returned 1")

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_install", fails)
    open_section(panel)
    panel.ui.installButton.click()
    assert "pip returned 1" in slicer.app.messages[-1][1] and "log" in slicer.app.messages[-1][1]


def test_slicer_before_5_12(panel, installation, monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    older = []

    def pip_install(requirements):
        older.append(requirements)
        installation.installed["numba"] = "0.68"

    monkeypatch.setattr(slicer.util, "pip_install", pip_install, raising=False)
    open_section(panel)
    panel.ui.installButton.click()
    settle()
    assert older == [["numba>=0.61"]] and "All packages" in panel.ui.environmentLabel.text


def test_restart_is_offered_where_a_package_in_use_was_changed(panel, installation, monkeypatch):
    tool = sys.modules["slicer.packaging"]
    install = tool.pip_install

    def changes_numpy(requirements, requester=None):
        install(requirements, requester)
        installation.installed["numpy"] = "2.3"

    monkeypatch.setattr(tool, "pip_install", changes_numpy)
    open_section(panel)
    panel.ui.installButton.click()
    assert slicer.app.messages[-1][0] == "confirmYesNoDisplay" and "numpy" in slicer.app.messages[-1][1]
    assert installation.restarts == [True]


def test_the_worker_tells_about_itself(panel):
    open_section(panel)
    panel.ui.diagnoseButton.click()
    wait_for(lambda: "Asking" not in panel.ui.environmentLabel.text and not panel._panel._asking)
    settle()
    text = panel.ui.environmentLabel.text
    assert "Python" in text and "torch" in text and len(text.splitlines()) > 3, text
