"""A made-up face, random heads and one camera for the tests of MeshHead and its losses."""

from contextlib import contextmanager

import torch

from gazegaussian.config import MeshHeadModel
from gazegaussian.dimensions import SHAPE_CODE_DIM
from gazegaussian.models.branches import EYE_LANDMARKS
from gazegaussian.models.mesh_head import MeshHead
from gazegaussian.rendering import render_mesh
from gazegaussian.training.mesh_head_stage import output_losses
from gazegaussian.types import Batch, Cameras, HeadParameters

CONFIG = MeshHeadModel(
    grid_resolution=12, geometry_width=32, shape_mlp_width=16, pose_mlp_width=8, eye_mlp_width=8, landmarks=70
)
SIZE = 64


def face_landmarks():
    """A made-up face: a rim, two eyes and scattered points on the front of an ellipsoid. [70, 3]"""
    generator = torch.Generator().manual_seed(1)
    xy = torch.rand(70, 2, generator=generator) * 1.4 - 0.7
    angle = torch.arange(6) / 6 * 2 * torch.pi
    ring = torch.stack([0.12 * angle.cos(), 0.05 * angle.sin()], dim=1)
    for eye, x in zip(EYE_LANDMARKS, (-0.35, 0.35), strict=True):
        xy[list(eye)] = ring + torch.tensor([x, 0.2])
    z = 0.9 * (1 - xy.square().sum(1) / 1.2).clamp_min(0).sqrt() - 0.4
    return torch.cat([xy, z[:, None]], dim=1)


def random_parameters(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pose = torch.randn(batch, 6, generator=generator) * 0.1
    return HeadParameters(
        shape_code=torch.randn(batch, 144, generator=generator),
        pose=pose,
        scale=1 + 0.1 * torch.rand(batch, 1, generator=generator),
        gaze=torch.randn(batch, 2, generator=generator) * 0.3,
    )


def random_batch(size=2, seed=0):
    """Targets: a disc with a colour gradient on white."""
    parameters = random_parameters(size, seed)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    mask = ((x - 32).square() + (y - 34).square() < 20**2).float().expand(size, 1, SIZE, SIZE)
    color = torch.stack([x / SIZE, y / SIZE, torch.full((SIZE, SIZE), 0.4)]).expand(size, 3, SIZE, SIZE)
    cameras = Cameras(
        rotation=torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(size, 3, 3),
        translation=torch.tensor([0.0, 0.0, 5.0]).expand(size, 3),
        intrinsics=torch.tensor([[90.0, 0, 32], [0, 90, 32], [0, 0, 1]]).expand(size, 3, 3),
        width=SIZE,
        height=SIZE,
    )
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        image=color * mask + 1 - mask,
        head_mask=mask,
        left_eye_mask=mask * 0,
        right_eye_mask=mask * 0,
        landmarks_2d=torch.zeros(size, 68, 2),
        landmarks_3d=face_landmarks() + 0.05 * torch.randn(size, 70, 3, generator=generator),
        parameters=parameters,
        cameras=cameras,
        index=torch.arange(size),
    )


@contextmanager
def one_thread():
    """Small products are slower on several busy cores than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@torch.no_grad()
def give_codes_influence(branches):
    """Undo the silent start of the codes' weights, as training does."""
    for branch in (branches.shape_deform, branches.shape_color):
        for layer in (branch.layers[0], branch.layers[branch.skip]):
            layer.weight[:, -SHAPE_CODE_DIM:] = 0.06 * (2 * torch.rand(len(layer.weight), SHAPE_CODE_DIM) - 1)


def acting_head():
    """A warm-started head whose branches all act."""
    torch.manual_seed(0)
    model = MeshHead(CONFIG)
    model.initialise_landmarks(face_landmarks())
    model.warm_start(150)
    with torch.no_grad():
        for branch in (model.branches.shape_deform, model.branches.pose_deform, model.branches.eye_rotation):
            branch.layers[-1].weight *= 20
    give_codes_influence(model.branches)
    return model


def losses_of(model, batch, weights):
    output = model(batch.parameters)
    image = render_mesh(output.vertices, output.faces, output.colors, batch.cameras, 1.0)
    return output_losses(output, image, batch, weights)
