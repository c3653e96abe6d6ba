"""The MeshHead loss: by hand, by property and against the published Laplacian."""

from dataclasses import replace

import pytest
import torch
from mesh_head_support import acting_head, losses_of, one_thread, random_batch

from gazegaussian.config import MeshHeadLoss
from gazegaussian.losses.mesh import color_loss, laplacian_loss, mesh_head_losses, silhouette_iou, soft_iou_loss
from gazegaussian.rendering import render_mesh


@pytest.fixture(scope="module")
def trained():
    with one_thread():
        yield acting_head()


def test_weights_scale_their_own_terms_only(trained):
    batch = random_batch(1)
    with torch.no_grad():
        base = losses_of(trained, batch, MeshHeadLoss())
        for name in base:
            key = f"{name}_importance"
            doubled = losses_of(trained, batch, MeshHeadLoss(**{key: 2 * getattr(MeshHeadLoss(), key)}))
            for other in base:
                factor = 2 if other == name else 1
                torch.testing.assert_close(doubled[other], factor * base[other])


def test_color_counts_inside_the_mask_only():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    target = torch.zeros(1, 3, 4, 4)
    image = target.clone()
    image[..., 2:, :] = 9.0
    assert color_loss(image, target, mask) == 0
    image[..., :2, :] = 0.25
    assert color_loss(image, target, mask).item() == pytest.approx(0.25)
    assert color_loss(image, target, mask * 0) == 0


def test_intersection_over_union_by_hand():
    a = torch.zeros(2, 1, 4, 4)
    b = torch.zeros(2, 1, 4, 4)
    # a third
    a[0, :, :, :2] = 1
    b[0, :, :, 1:3] = 1
    a[1] = 1
    b[1] = 1
    torch.testing.assert_close(silhouette_iou(a, b), torch.tensor([1 / 3, 1.0]))
    assert soft_iou_loss(a, b).item() == pytest.approx(1 - (1 / 3 + 1) / 2)
    empty = torch.zeros(1, 1, 4, 4)
    assert torch.isfinite(soft_iou_loss(empty, empty))


def test_soft_overlap_pulls_the_silhouette_to_the_mask():
    silhouette = torch.full((1, 1, 4, 4), 0.5, requires_grad=True)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    soft_iou_loss(silhouette, mask).backward()
    assert (silhouette.grad[mask == 1] < 0).all()
    assert (silhouette.grad[mask == 0] > 0).all()


def test_landmark_term_is_in_model_units(trained):
    """The same head twice as large in the world has the same landmark loss."""
    batch = random_batch(1)
    output = trained(batch.parameters)
    image = render_mesh(output.vertices, output.faces, output.colors, batch.cameras, 1.0)

    def landmark_loss(factor):
        scaled = replace(
            batch,
            landmarks_3d=batch.landmarks_3d * factor,
            parameters=replace(batch.parameters, scale=batch.parameters.scale * factor),
        )
        return mesh_head_losses(
            output.landmarks * factor,
            output.landmark_sdf,
            output.neutral_vertices,
            output.faces,
            output.displacement,
            image,
            scaled,
            MeshHeadLoss(),
        )["landmark_deform"]

    torch.testing.assert_close(landmark_loss(2.0), landmark_loss(1.0))


def test_laplacian_of_a_flat_regular_patch_is_zero_inside():
    flat = torch.tensor(
        [[0.0, 0, 0], [1, 0, 0], [0.5, 0.8, 0], [-0.5, 0.8, 0], [-1, 0, 0], [-0.5, -0.8, 0], [0.5, -0.8, 0]]
    )
    faces = torch.tensor([[0, i, i % 6 + 1] for i in range(1, 7)])
    flat.requires_grad_()
    (gradient,) = torch.autograd.grad(laplacian_loss(flat, faces), flat)
    lifted = flat.detach() + torch.tensor([[0.0, 0, 0.5]]) * (torch.arange(7) == 0)[:, None]
    torch.testing.assert_close(gradient[0], torch.zeros(3), atol=1e-6, rtol=0)  # the middle sits at the mean
    assert laplacian_loss(lifted, faces) > laplacian_loss(flat, faces)
