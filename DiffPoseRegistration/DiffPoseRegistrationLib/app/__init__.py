"""Everything that knows Slicer: the panel, the scene, and the way between nodes and files.

Nothing heavy and nothing third-party is imported here: this is Slicer's own process. What needs torch
or numba runs in a worker process, through ``jobs``.
"""
