"""A signal for plain Python classes (Qt's own cannot be declared under PythonQt)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

_log = logging.getLogger(__name__)


class Signal:
    """Calls what is connected, in order; a listener that raises is logged and does not keep the others waiting."""

    def __init__(self) -> None:
        self._listeners: list[Callable[..., None]] = []

    def connect(self, listener: Callable[..., None]) -> None:
        self._listeners.append(listener)

    def disconnect(self, listener: Callable[..., None]) -> None:
        self._listeners.remove(listener)

    def emit(self, *values: Any) -> None:
        for listener in list(self._listeners):
            try:
                listener(*values)
            except Exception:
                _log.exception("A listener failed.")
