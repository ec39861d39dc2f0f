"""Registration errors and what many of them say together: pure functions of poses, points and numbers."""
