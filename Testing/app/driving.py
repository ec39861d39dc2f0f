"""The panel driven as a person would: what the tests of the panel have in common."""

from __future__ import annotations

import time

import slicer

DEADLINE_S = 300.0  # for a slow and busy machine; nothing is measured by it


def wait_for(condition, seconds=DEADLINE_S):
    """Let the event loop run until ``condition()``; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        slicer.app.processEvents()
        time.sleep(0.002)


def settle():
    """Let everything happen that was asked for "soon": the panel then shows the present state."""
    panel = slicer.modules.DiffPoseRegistrationWidget._panel
    slicer.app.processEvents()
    wait_for(lambda: panel.is_up_to_date)
    slicer.app.processEvents()


def wait_for_job(panel):
    """Let the job under way end, and its result be shown."""
    wait_for(lambda: not panel.logic.is_busy)
    settle()


def choose(panel, case):
    """Choose CT and X-ray."""
    panel.ui.ctSelector.setCurrentNode(case.ct)
    panel.ui.xraySelector.setCurrentNode(case.xray)
    settle()


def type_geometry(panel, camera):
    """Type distance and pixel spacing."""
    panel.ui.sourceDetectorSpinBox.value = camera.source_to_detector_mm
    panel.ui.rowSpacingSpinBox.value = camera.pixel_spacing_mm[0]
    panel.ui.columnSpacingSpinBox.value = camera.pixel_spacing_mm[1]
    settle()


def place_at_view(panel):
    """Put the X-ray at the view, as a start."""
    choose_start(panel, "VIEW")
    assert panel.ui.placeButton.enabled, panel.ui.placeButton.toolTip
    panel.ui.placeButton.click()
    settle()


def choose_start(panel, name):
    """Choose what the registration starts from."""
    from DiffPoseRegistrationLib.app.parameters import Start

    panel.ui.startComboBox.currentIndex = [start.name for start in Start].index(name)
    settle()
