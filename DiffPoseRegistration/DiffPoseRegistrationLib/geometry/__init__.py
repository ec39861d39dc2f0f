"""Rigid motions, the C-arm camera, poses and pose ranges. Frames and signs are stated here once.

World
    Patient space of the CT, **RAS, millimetres**.
Camera
    Right-handed, mm, origin at the X-ray source, +z along the principal axis to the detector.
Pose
    ``camera_to_world`` (4x4): ``x_ras = camera_to_world @ x_camera``; always a proper rotation.
Update
    ``pose <- exp(xi) pose`` with ``xi = (rotation [rad], translation [mm])`` in se(3), taken about the
    isocentre with world axes.
"""
