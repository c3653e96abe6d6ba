"""Synthetic heads: a rig of cameras, parametric heads with hair, rendering, and data sets of them."""
