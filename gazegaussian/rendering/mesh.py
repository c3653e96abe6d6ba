"""Meshes: hard visibility, soft border, gradients to vertices and attributes.

One kernel decides only which face a pixel sees. Perspective-correct barycentrics are then computed again from that
face's vertices, and the gradients of the interpolated attributes are theirs.

The silhouette follows DIB-R (Chen et al. 2019), coverage ``exp(-d^2 / delta^2)`` at a distance ``d`` from the mesh, with
two changes. Only contour edges count (between a face that looks at the camera and one that does not, or none), and of
these the nearest one: the sum over all faces dilates the mask with the number of triangles. And it is two-sided, ``e/2``
outside and ``1 - e/2`` inside, so that the border sits at 1/2 and covered pixels pull too; one-sided coverage is smallest
in error for a mesh that is too small.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gazegaussian.errors import UserError
from gazegaussian.rendering import mesh_kernels, mesh_reference
from gazegaussian.rendering.mesh_interpolation import interpolate_torch, interpolate_warp, pixel_centres
from gazegaussian.types import Cameras, MeshImage

NEAR = 0.01  # world units; faces with a vertex closer than this are not drawn
_DIBR_SHARPNESS = 7000.0  # 1 / delta^2 of DIB-R with the image 2 units wide
_MIN_SOFTNESS = 1.0  # px; below about a pixel most border pixels get no gradient
_REACH = 3.0  # softness lengths, where the falloff is 1e-4

_topologies: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def edge_table(faces: Tensor, padded: bool = False) -> Tensor:
    """Edges with their faces.

    Args:
        faces: Vertex ids. [F, 3]
        padded: Return 3 F rows, so that the host need not wait for the number of edges. The surplus rows name one face twice;
            no contour runs along such an edge.

    Returns:
        Two vertex ids, two face ids (the second -1 at a boundary); an edge shared by more than two faces appears once
        per pair of successive faces. [E, 4] int32
    """
    f = faces.long()
    if f.shape[0] == 0:
        return torch.zeros(0, 4, dtype=torch.int32, device=f.device)
    corners = torch.cat([f[:, :2], f[:, 1:], torch.stack([f[:, 2], f[:, 0]], 1)]).sort(1).values
    owner = torch.arange(f.shape[0], device=f.device).repeat(3)
    code = corners[:, 0] * (f.max() + 1) + corners[:, 1]
    code, order = torch.sort(code, stable=True)
    corners = corners[order]
    owner = owner[order]
    same_as_next = torch.nn.functional.pad(code[1:] == code[:-1], (0, 1))
    same_as_previous = torch.nn.functional.pad(code[1:] == code[:-1], (1, 0))
    partner = torch.where(same_as_next, owner.roll(-1), -1)
    kept = same_as_next | ~same_as_previous
    if padded:
        partner = torch.where(kept, partner, owner)
        return torch.cat([corners, owner[:, None], partner[:, None]], 1).int().contiguous()
    return torch.cat([corners, owner[:, None], partner[:, None]], 1)[kept].int().contiguous()


@dataclass(frozen=True)
class _Topology:
    """What depends on the faces alone."""

    version: int  # of the tensor it was made from
    faces: Tensor  # [F, 3] int32
    edges: Tensor  # [E, 4] int32, see `edge_table`
    vertices: int  # at least so many


def _topology(faces: Tensor, trusted: bool) -> _Topology:
    """Faces and their edges, remembered as long as `faces` lives and is not written to."""
    known = _topologies.get(faces)
    if known is None or known.version != faces._version:
        lowest, highest = (0, -1) if trusted or not faces.numel() else torch.stack(faces.aminmax()).tolist()
        if lowest < 0:
            raise UserError(f"Expected vertex ids >= 0 in `faces`; got {lowest}. Count from 0.")
        vertices = highest + 1
        edges = edge_table(faces, padded=faces.device.type == "cuda")
        known = _Topology(faces._version, faces.int().contiguous(), edges, vertices)
        _topologies[faces] = known
    return known


def _check(vertices: Tensor, topology: _Topology, attributes: Tensor, cameras: Cameras) -> None:
    """Reject what would otherwise read outside an array."""
    batch, count = vertices.shape[:2]
    if attributes.shape[:2] != (batch, count) or cameras.rotation.shape[0] != batch:
        raise UserError(
            f"Expected vertices [B, V, 3], attributes [B, V, C] and B cameras; got {tuple(vertices.shape)}, "
            f"{tuple(attributes.shape)} and {cameras.rotation.shape[0]} cameras. Match the first dimensions."
        )
    if topology.vertices > count:
        raise UserError(f"Expected vertex ids below {count} in `faces`; got {topology.vertices - 1}. Use its own mesh.")


def _to_image(vertices: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """World to image, in float64: px with pixel i centred at i + 0.5 [B, V, 2], and depth [B, V]."""
    points = vertices.double()
    rotation, translation, k = (t.to(points) for t in (cameras.rotation, cameras.translation, cameras.intrinsics))
    points = points @ rotation.transpose(1, 2) + translation[:, None]
    depth = points[..., 2]
    safe = torch.where(depth > NEAR, depth, 1)  # faces with such a vertex are dropped; keep its gradient finite
    focal = torch.stack([k[:, 0, 0], k[:, 1, 1]], -1)[:, None]
    return focal * points[..., :2] / safe[..., None] + k[:, None, :2, 2], depth


def _silhouette(xy: Tensor, covered: Tensor, edge_ids: Tensor, edges: Tensor, width: int, softness: float) -> Tensor:
    """Soft coverage from the distance to the border. [B, H * W] float64. The host waits for the number of its pixels."""
    image, pixel = torch.nonzero(edge_ids >= 0, as_tuple=True)
    ends = edges[edge_ids[image, pixel], :2].long()
    points = pixel_centres(pixel, width, xy.dtype)
    nearest = mesh_reference.closest_point(points, xy.flatten(0, 1)[image[:, None] * xy.shape[1] + ends])
    half = 0.5 * torch.exp(-(points - nearest).square().sum(-1) / softness**2)
    return covered.to(xy.dtype).index_put((image, pixel), torch.where(covered[image, pixel], 1 - half, half))


def render_mesh(
    vertices: Tensor,
    faces: Tensor,
    attributes: Tensor,
    cameras: Cameras,
    background: Tensor | float,
    backend: str = "auto",
    trusted: bool = False,
) -> MeshImage:
    """Rasterise each batch row into its own camera. Both sides of a face are drawn.

    Positions are computed in float64 whatever the inputs are: they are few, and edge-on faces need them. The rest is
    computed and returned in the type of the vertices, float32 for half precision, also under autocast.

    Args:
        vertices: World frame. [B, V, 3]
        faces: Vertex ids, the same for the whole batch. [F, 3] long
        attributes: Interpolated over the faces. [B, V, C]
        cameras: One per batch row.
        background: Attribute where nothing is hit. [C] or one number
        backend: "warp", "torch", or "auto": torch for float64, else Warp.
        trusted: All ids of `faces` are known to be vertices: they are not looked at, for which the host would wait.

    Returns:
        Attributes [B, C, H, W], differentiable in vertices, attributes and background; hard mask [B, 1, H, W]; soft
        silhouette [B, 1, H, W], differentiable in the vertices.

    Raises:
        UserError: The backend is unknown or cannot compute in the type of the vertices, or shapes do not match.
    """
    if backend not in ("auto", "warp", "torch"):
        raise UserError(f"Expected a mesh backend in auto, warp, torch; got {backend!r}.")
    width = cameras.width
    height = cameras.height
    with torch.autocast(device_type=vertices.device.type, enabled=False):
        vertices = vertices.to(torch.promote_types(vertices.dtype, torch.float32))
        attributes = attributes.to(vertices)
        colour = background if isinstance(background, Tensor) else vertices.new_full((1,), background)
        colour = colour.to(vertices).expand(attributes.shape[-1])
        if backend == "warp" and vertices.dtype == torch.float64:
            raise UserError("Expected float32 vertices for the Warp mesh backend; got float64. Use backend='torch'.")
        use_torch = backend == "torch" or (backend == "auto" and vertices.dtype == torch.float64)
        visibility = mesh_reference if use_torch else mesh_kernels
        topology = _topology(faces, trusted)
        _check(vertices, topology, attributes, cameras)
        triangles = topology.faces
        edges = topology.edges
        xy, depth = _to_image(vertices, cameras)

        visible = visibility.visible_faces(xy.detach(), depth.detach(), triangles, NEAR, width, height)
        interpolate = interpolate_torch if use_torch else interpolate_warp
        image = interpolate(xy, depth, triangles, visible, attributes, colour, width)

        hit = visible >= 0
        gap = torch.nn.functional.max_pool2d((~hit).view(-1, 1, height, width).float(), 3, 1, 1).flatten(1) > 0
        covered = hit.to(torch.uint8) + 2 * gap.to(torch.uint8)
        softness = max(_MIN_SOFTNESS, 0.5 * width / _DIBR_SHARPNESS**0.5)
        reach = _REACH * softness
        near = visibility.nearest_border(xy.detach(), depth.detach(), triangles, edges, NEAR, covered, width, reach)
        silhouette = _silhouette(xy, hit, near, edges, width, softness)
        shape = (-1, 1, height, width)
        return MeshImage(
            attributes=image.view(-1, height, width, attributes.shape[-1]).permute(0, 3, 1, 2),
            mask=hit.view(shape).to(vertices.dtype),
            silhouette=silhouette.view(shape).to(vertices.dtype),
        )
