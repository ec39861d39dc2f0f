"""Registration errors: pure functions of poses and points."""
