"""Sizes that data and networks share; without torch, as what only looks at files needs them, too."""

from __future__ import annotations

EXPRESSION_DIM = 64
IDENTITY_DIM = 80
SHAPE_CODE_DIM = EXPRESSION_DIM + IDENTITY_DIM  # in that order
FEATURE_CHANNELS = 32
