"""DiffPose: where was this X-ray taken from? 2D/3D registration of X-rays to CT.

The rooms of this package, from the ground up (a room uses only rooms below it):

``geometry``    rigid motions, the C-arm camera, poses and pose ranges
``metrics``     registration errors, pure functions of poses and points
``imaging``     CT volumes and X-rays: reading, checking, intensity
``datasets``    X-rays with known poses: public data sets and folders of one's own
``rendering``   simulated X-rays (DRRs) and their pose Jacobian
``refinement``  pose from similarity, by second- and first-order optimisation
``encoder``     the network that learns the pose from X-rays simulated out of a CT
``workflow``    whole tasks: simulate, prepare, register, evaluate
``jobs``        background work as folders
``commandline`` the headless tool
``app``         everything that knows Slicer

Nothing is imported here, so that importing the package costs nothing in Slicer's own process.
"""

__version__ = "0.1.0"
