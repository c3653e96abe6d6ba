"""Geometry: rotations, gaze angles, head frame, tetrahedral grid."""
