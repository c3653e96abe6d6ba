"""GazeGaussian: gaze redirection with two streams of 3D Gaussians. Knows nothing of studies."""

import os

SPIN_COUNT = "10000"
"""How often a waiting CPU thread looks before it sleeps: meant to outlast the gaps between two operations of a training and to be
much shorter than a time slice. GNU OpenMP's own 300,000 starve a training beside busy programs: the waiting thread burns the
slice that the working one needs. 100,000 starve it, too; 1,000 cost a quiet machine 15% (two cores, quick GazeGaussian)."""

# OpenMP reads it once, when torch is loaded. A user's own choice stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
