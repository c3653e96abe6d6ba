"""Differentiable renderers: Gaussian splats and triangle meshes."""

from gazegaussian.rendering.mesh import render_mesh
from gazegaussian.rendering.splats import render_splats
from gazegaussian.rendering.warm_up import warm_up

__all__ = ["render_mesh", "render_splats", "warm_up"]
