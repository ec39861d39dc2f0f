"""Measurements, one module each, called by ``scripts/benchmark NAME --out DIR``.

A benchmark is a module of this folder whose name has no leading underscore. Its docstring's first line says what
it measures. It has

``run(arguments) -> dict``
    Measures and returns ``{"figures": {name: value}, "ratios": {name: value}}``, values being numbers, texts or
    nested dicts of these; ``"rows"`` may hold a list of dicts, one a row of the table to be printed, and anything
    else that JSON can hold is kept as well. ``arguments.out`` is an existing folder for further files.
``add_arguments(parser)``
    Optional: its own options.

``_common`` has what they share: timing side by side, versions, tables.
"""
