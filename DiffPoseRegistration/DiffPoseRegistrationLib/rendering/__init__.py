"""Simulated X-rays (DRRs) out of a CT, and how they change with the pose.

``renderer``    the one entry that everybody calls
``grid``        the volume as the marchers want it: attenuation, 16 bit, zero border, pyramid
``rays``        camera and pose to ray origins and directions in grid coordinates
``single_ray``  one ray: Joseph's method, the trilinear march, and the derivatives (numba)
``ray_lanes``   Joseph's method for sixteen neighbouring rays at once, where the processor can gather
``march_cpu``   the compiled loops over pixels
``launching``   parallel loops one at a time, small ones on one thread
``march_cuda``  single rays compiled for NVIDIA GPUs
``siddon``      exact integrals of uniform voxels
``reference``   the readable torch renderer that the compiled ones are held against
``backends``    which of them renders
``structures``  one image for each labelled structure, in one march
``coverage``    how far each ray runs inside the CT, and whether it meets a cut body
``autograd``    the compiled marcher inside torch
``warm_up``     compiling ahead of time
"""

from .compiled_cache import use_writable_cache

# Before any of the modules below defines a compiled function.
use_writable_cache()
