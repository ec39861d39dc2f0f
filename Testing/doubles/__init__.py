"""A stand-in for Slicer's application: PythonQt's ``qt`` and ``ctk`` on PySide6, MRML from the slicer-core wheel.

It is meant to be **stricter** than Slicer: what PythonQt merely prints (an unknown signal, an exception in
a slot) is an error here, and what PySide6 would forgive (a property called as a method, a new attribute on
a C++ object) is refused as PythonQt refuses it. MRML nodes, the scene, ``slicer.util`` and the views are the
real ones.

:func:`install` puts ``qt``, ``ctk`` and the missing parts of ``slicer`` into ``sys.modules``.
"""

from __future__ import annotations

import ctypes
import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

_application = None


def install(settings_folder: str):
    """Install the stand-in once per process and return the double of ``slicer.app``.

    ``settings_folder`` is where QSettings are kept, so that a test never touches a person's settings.
    """
    global _application
    if _application is None:
        _keep_none_alive()
        # In this order: each module imports what the ones before it have put into sys.modules.
        from . import pythonqt

        sys.modules["qt"] = pythonqt.install(settings_folder)
        from . import ctk_widgets

        sys.modules["ctk"] = ctk_widgets.install()
        from . import mrml_widgets, parameter_node, scripted_module, slicer_application

        _application = slicer_application.install()
        for module in (mrml_widgets, scripted_module, parameter_node):
            module.install()
    return _application


def _keep_none_alive() -> None:
    """PySide6 6.12 drops a reference to None with every call that returns nothing.

    Since Python 3.12 None is immortal and it does not matter; before, some ten thousand calls end the process.
    """
    if sys.version_info < (3, 12):
        ctypes.c_ssize_t.from_address(id(None)).value += 2**40
