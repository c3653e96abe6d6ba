"""GazeGaussian: gaze redirection with two streams of 3D Gaussians. Knows nothing of studies."""
