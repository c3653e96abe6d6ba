"""The projection of `projection.project` as one Warp kernel; Warp derives its adjoint.

Thirty small torch operations forward and sixty backward cost more than the compositing of a 32 x 32 feature map.
"""

# No `from __future__ import annotations` here: Warp reads the kernels' annotations as objects.
# mypy: disable-error-code="valid-type"

import torch
from torch import Tensor

from gazegaussian.rendering._warp import as_array, launch_split, wp
from gazegaussian.rendering.projection import ALPHA_MIN, CULLED, DILATION, FRUSTUM_MARGIN, NEAR, ProjectedSplats
from gazegaussian.types import Cameras

_NEAR = wp.constant(NEAR)
_A_MIN = wp.constant(ALPHA_MIN)
_CULLED = wp.constant(CULLED)
_DILATION = wp.constant(DILATION)
_MARGIN = wp.constant(0.5 * FRUSTUM_MARGIN)


@wp.kernel(enable_backward=True)
def _project(
    means: wp.array(dtype=wp.vec3),
    quats: wp.array(dtype=wp.vec4),
    scales: wp.array(dtype=wp.vec3),
    opacities: wp.array(dtype=float),
    rotation: wp.array(dtype=wp.mat33),
    translation: wp.array(dtype=wp.vec3),
    intrinsics: wp.array(dtype=wp.mat33),
    per_image: int,
    width: float,
    height: float,
    image_means: wp.array(dtype=wp.vec2),
    conics: wp.array(dtype=wp.vec3),
    depths: wp.array(dtype=float),
    extents: wp.array(dtype=wp.vec2),
    first: int,
) -> None:
    i = first + wp.tid()
    extents[i] = wp.vec2(_CULLED, _CULLED)
    o = opacities[i]
    # Tests are written so that a NaN fails them.
    if not (o >= _A_MIN and wp.isfinite(o)):
        return
    camera = i // per_image
    r = rotation[camera]
    centre = r * means[i] + translation[camera]
    z = centre[2]
    raw = quats[i]
    length = wp.length(raw)
    if not (z > _NEAR and length > 0.0):
        return
    k = intrinsics[camera]
    fx = k[0, 0]
    fy = k[1, 1]
    x = centre[0] / z
    y = centre[1] / z
    u = fx * x + k[0, 2]
    v = fy * y + k[1, 2]
    # Rows of J R; the Jacobian is evaluated no further out than a margin around the image.
    limit_x = _MARGIN * width / fx
    limit_y = _MARGIN * height / fy
    row_u = (fx / z) * (r[0] - wp.clamp(x, -limit_x, limit_x) * r[2])
    row_v = (fy / z) * (r[1] - wp.clamp(y, -limit_y, limit_y) * r[2])
    q = raw / length
    qw = q[0]
    qx = q[1]
    qy = q[2]
    qz = q[3]
    s = scales[i]
    axis_0 = s[0] * wp.vec3(1.0 - 2.0 * (qy * qy + qz * qz), 2.0 * (qx * qy + qw * qz), 2.0 * (qx * qz - qw * qy))
    axis_1 = s[1] * wp.vec3(2.0 * (qx * qy - qw * qz), 1.0 - 2.0 * (qx * qx + qz * qz), 2.0 * (qy * qz + qw * qx))
    axis_2 = s[2] * wp.vec3(2.0 * (qx * qz + qw * qy), 2.0 * (qy * qz - qw * qx), 1.0 - 2.0 * (qx * qx + qy * qy))
    pu = wp.vec3(wp.dot(axis_0, row_u), wp.dot(axis_1, row_u), wp.dot(axis_2, row_u))
    pv = wp.vec3(wp.dot(axis_0, row_v), wp.dot(axis_1, row_v), wp.dot(axis_2, row_v))
    a = wp.dot(pu, pu) + _DILATION
    b = wp.dot(pu, pv)
    c = wp.dot(pv, pv) + _DILATION
    det = a * c - b * b
    if not (det > 0.0 and wp.isfinite(det) and wp.isfinite(u) and wp.isfinite(v)):
        return
    image_means[i] = wp.vec2(u, v)
    conics[i] = wp.vec3(c / det, -b / det, a / det)
    depths[i] = z
    reach = wp.sqrt(2.0 * wp.log(o * 255.0) * 1.0001 + 1.0e-6)
    extents[i] = wp.vec2(reach * wp.sqrt(a), reach * wp.sqrt(c))


def _camera_arrays(cameras: Cameras) -> list[object]:
    tensors = (cameras.rotation, cameras.translation, cameras.intrinsics)
    dtypes = (wp.mat33, wp.vec3, wp.mat33)
    return [as_array(t, dtype) for t, dtype in zip(tensors, dtypes, strict=True)]


def _shape_arrays(shape: tuple[Tensor, Tensor, Tensor]) -> list[object]:
    return [as_array(t, dtype) for t, dtype in zip(shape, (wp.vec3, wp.vec4, wp.vec3), strict=True)]


def project_flat(shape: tuple[Tensor, Tensor, Tensor], opacities: Tensor, cameras: Cameras) -> ProjectedSplats:
    """Project M = B * N splats, without recording gradients.

    Args:
        shape: Means, quats and scales; contiguous float32. [M, 3], [M, 4], [M, 3]
        opacities: [M]
        cameras: Contiguous float32. [B]

    Returns:
        As `projection.project`. Where the extents are negative the other fields are not set.
    """
    total = opacities.shape[0]
    device = opacities.device
    mean, conic, depth, extent = (torch.empty(total, k, device=device) for k in (2, 3, 1, 2))
    splats = ProjectedSplats(mean, conic, depth[:, 0], extent)
    outputs = [as_array(mean, wp.vec2), as_array(conic, wp.vec3), as_array(splats.depths), as_array(extent, wp.vec2)]
    size = [total // cameras.rotation.shape[0], float(cameras.width), float(cameras.height)]
    inputs = [*_shape_arrays(shape), as_array(opacities), *_camera_arrays(cameras), *size]
    launch_split(_project, total, [*inputs, *outputs], device)
    return splats


def project_flat_backward(
    shape: tuple[Tensor, Tensor, Tensor],
    opacities: Tensor,
    cameras: Cameras,
    splats: ProjectedSplats,
    grad_means: Tensor,
    grad_conics: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `project_flat` to means, quats and scales.

    Args:
        shape: As given to `project_flat`.
        opacities: As given to `project_flat`.
        cameras: As given to `project_flat`.
        splats: What it returned.
        grad_means: Gradient to the image means, contiguous. [M, 2]
        grad_conics: Gradient to the conics, contiguous. [M, 3]

    Returns:
        Gradients to means [M, 3], quats [M, 4], scales [M, 3]; zero for culled splats.
    """
    # In what is culled late there may be infinities, and zero times those is no zero gradient: cull it at once.
    opacities = torch.where(splats.extents[:, 0] > 0, opacities, 0)
    means, quats, scales = shape
    grads = (torch.zeros_like(means), torch.zeros_like(quats), torch.zeros_like(scales))
    outputs = [
        as_array(splats.means, wp.vec2),
        as_array(splats.conics, wp.vec3),
        as_array(splats.depths),
        as_array(splats.extents, wp.vec2),
    ]
    size = [opacities.shape[0] // cameras.rotation.shape[0], float(cameras.width), float(cameras.height)]
    inputs = [*_shape_arrays(shape), as_array(opacities), *_camera_arrays(cameras), *size]
    adjoint = [*_shape_arrays(grads), None, None, None, None, 0, 0.0, 0.0]
    adjoint += [as_array(grad_means, wp.vec2), as_array(grad_conics, wp.vec3), None, None, 0]
    launch_split(_project, opacities.shape[0], [*inputs, *outputs], opacities.device, adjoint)
    return grads
