"""The loss terms of the released code against ours."""

import math
from dataclasses import replace

import pytest
import torch
from fixtures_support import published_arrays
from published_support import close

from gazegaussian.geometry.gaze import angular_error, pitchyaw_to_vector
from gazegaussian.losses.image import image_terms, layer_pairs, ssim
from gazegaussian.losses.mesh import laplacian_loss
from gazegaussian.metrics import validation_parts
from gazegaussian.types import Batch, Cameras, HeadParameters

WEIGHTS = {"w11": (1.0, 1.0), "w2h": (2.0, 0.5)}  # eyes, face
LAYERS = {"eyes": "_eyes", "face": "_face", "head": ""}
OFFSETS = {  # published term -> input, weight
    "delta_eular": ("delta_eulur", 0.001),
    "delta_tvec": ("delta_tvec", 0.001),
    "iden": ("iden", 0.001),
    "expr": ("expr", 1.0),
}


def binary(mask):
    return (mask >= 0.5).float()


def batch_of(arrays):
    count, _, height, width = arrays["tot_in_image"].shape
    nothing = torch.zeros(count, 0)
    return Batch(
        image=arrays["tot_in_image"],
        head_mask=binary(arrays["tot_in_face_mask"]),
        left_eye_mask=binary(arrays["tot_in_left_eye_mask"]),
        right_eye_mask=binary(arrays["tot_in_right_eye_mask"]),
        landmarks_2d=nothing,
        landmarks_3d=nothing,
        parameters=HeadParameters(nothing, nothing, nothing, nothing),
        cameras=Cameras(nothing, nothing, nothing, width, height),
        index=torch.arange(count),
    )


@pytest.mark.parametrize("case", WEIGHTS)
def test_image_terms_and_their_sum(case):
    arrays = published_arrays("losses.npz")
    batch = batch_of(arrays)
    colors = {name: arrays[f"tot_in_merge_img{suffix}"] for name, suffix in LAYERS.items()}
    renders = {name: arrays[f"tot_in_merge_img{suffix}_pro"] for name, suffix in LAYERS.items()}
    pairs = layer_pairs(colors, renders, batch, batch.eye_mask)
    eyes, face = WEIGHTS[case]
    terms = image_terms(pairs, eyes, 0.1, face)
    for name in LAYERS:
        close(terms[name], arrays[f"total_{case}_{name}"])
        close(terms[f"{name}_image"], arrays[f"total_{case}_{name}_p"])
    total = sum(terms.values())
    for published, (given, weight) in OFFSETS.items():
        penalty = arrays[f"tot_in_{given}"].square().mean()
        close(penalty, arrays[f"total_{case}_{published}"])
        total = total + weight * penalty
    close(total, arrays[f"total_{case}_total_loss"])


def test_eyes_outside_the_head_count_as_published_only():
    arrays = published_arrays("losses.npz")
    batch = batch_of(arrays)
    row = torch.nonzero(batch.head_mask[0, 0] == 0)[0]
    batch.left_eye_mask[0, 0, row[0], row[1]] = 1
    images = {name: torch.zeros_like(batch.image) for name in LAYERS}
    ours = layer_pairs(images, images, batch)
    published = layer_pairs(images, images, batch, batch.eye_mask)
    pixel = (0, slice(None), row[0], row[1])
    assert (ours["eyes"][0][pixel] == 1).all()
    assert (published["eyes"][0][pixel] == 0).all()
    assert torch.equal(ours["face"][0], published["face"][0])


def test_similarities():
    arrays = published_arrays("losses.npz")
    similarities = ssim(arrays["img_a"], arrays["img_b"])
    close(similarities, arrays["ssim_per_image"])
    close(similarities.mean(), arrays["ssim_mean"])


class Blind:
    """A judge that reads the same from every image."""

    def perceptual(self, a, b):
        return torch.zeros(len(a))

    def gaze(self, image, landmarks_2d):
        return torch.zeros(len(image), 2)

    def head_pose(self, image):
        return torch.zeros(len(image), 2)


def test_noise_ratio_of_the_ruler():
    arrays = published_arrays("losses.npz")
    batch = batch_of(arrays)
    everywhere = torch.ones_like(arrays["img_a"][:, :1])
    gaze = replace(batch.parameters, gaze=torch.zeros(len(everywhere), 2))
    batch = replace(batch, image=arrays["img_b"], head_mask=everywhere, parameters=gaze)
    close(validation_parts(arrays["img_a"], batch, Blind())["psnr"][:, None], arrays["psnr"])


def test_gaze_directions_and_angles():
    arrays = published_arrays("losses.npz")
    one = arrays["pitchyaw_1"]
    two = arrays["pitchyaw_2"]
    close(pitchyaw_to_vector(one), arrays["vector_1"])
    close(pitchyaw_to_vector(two), arrays["vector_2"])
    degrees = angular_error(one, two) * 180 / math.pi
    tolerance = torch.where(arrays["angular_distance_deg"] > 1, 1e-3, 0.05)  # arccos loses digits near 0
    assert ((degrees - arrays["angular_distance_deg"]).abs() < tolerance).all()
    assert degrees.mean().item() == pytest.approx(arrays["gaze_angular_loss_deg"].item(), abs=0.05)


def test_laplacian():
    arrays = published_arrays("losses.npz")
    close(laplacian_loss(arrays["lap_verts"], arrays["lap_faces"]), arrays["lap_value"])
