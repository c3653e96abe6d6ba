"""Shared by tests: redirect panel."""

from __future__ import annotations

LIMITS = {"gaze_pitch": (-20, 24), "gaze_yaw": (-30, 30), "head_pitch": (-12, 12), "head_yaw": (-20, 21)}
