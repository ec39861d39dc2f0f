"""From a pose nearby to the pose: similarity, optimisers, schedule, doubt."""

from ..rendering.compiled_cache import use_writable_cache

# Before any of the modules below defines a compiled function.
use_writable_cache()
