"""Cameras, projections, landmarks and samples of the released code against ours; and where the two differ on purpose."""

import math

import pytest
import torch
from fixtures_support import published_arrays, published_fixtures
from published_support import close, close_up_to_sign

from gazegaussian.data.hdf5 import HeadDataset
from gazegaussian.geometry.heads import world_to_head
from gazegaussian.geometry.published import centred, published_landmarks
from gazegaussian.geometry.rotations import axis_angle_to_matrix, matrix_to_quat, quat_to_matrix
from gazegaussian.rendering.mesh import _to_image
from gazegaussian.rendering.projection import project
from gazegaussian.types import Cameras, Gaussians


def samples():
    """Numbers of the samples of camera.npz."""
    return sorted({name.split("/")[0] for name in published_arrays("camera.npz") if name.startswith("s")})


def sample(name):
    arrays = published_arrays("camera.npz")
    return {key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")}


def cameras_of(arrays):
    """Our cameras from the extrinsics and the normalised intrinsics (2 f / W; 2 c / W - 1)."""
    size = int(published_arrays("camera.npz")["image_size"])
    normalised = arrays["intrinsics_ndc"]
    intrinsics = torch.eye(3)
    intrinsics[0, 0] = normalised[0, 0] * size / 2
    intrinsics[1, 1] = normalised[1, 1] * size / 2
    intrinsics[0, 2] = (normalised[0, 2] + 1) * size / 2
    intrinsics[1, 2] = (normalised[1, 2] + 1) * size / 2
    rotation = arrays["extrinsics"][:, :3]
    translation = arrays["extrinsics"][:, 3]
    return Cameras(rotation[None], translation[None], intrinsics[None], size, size)


def splats_at(points):
    count = len(points)
    quats = torch.tensor([1.0, 0, 0, 0]).repeat(1, count, 1)
    return Gaussians(
        points[None], quats, torch.full((1, count, 3), 0.1), torch.ones(1, count), torch.zeros(1, count, 3)
    )


def test_points_on_the_image_of_the_mesh_renderer():
    assert samples()
    for name in samples():
        arrays = sample(name)
        pixels, depth = _to_image(arrays["points_world"][None], cameras_of(arrays))
        close(pixels[0] - 0.5, arrays["mesh_pixel"])  # there pixel i is centred at i + 0.5
        close(depth[0], arrays["depth"])
        close(depth[0], arrays["points_camera"][:, 2])


def test_points_on_the_image_of_the_splats():
    for name in samples():
        arrays = sample(name)
        cameras = cameras_of(arrays)
        for factor, expected in ((1, "gauss_pixel_full"), (4, "gauss_pixel_quarter")):
            small = centred(cameras).resized(cameras.width // factor, cameras.height // factor)
            projected = project(splats_at(arrays["points_world"]), small)
            close(projected.means - 0.5, arrays[expected])
            close(projected.depths, arrays["depth"])


def test_the_principal_point_makes_the_difference():
    """Published splats ignore it; ours agree with them where it is in the middle, and with the mesh everywhere."""
    for name in samples():
        arrays = sample(name)
        cameras = cameras_of(arrays)
        ours = project(splats_at(arrays["points_world"]), cameras).means - 0.5
        close(ours, arrays["mesh_pixel"])
        shift = cameras.intrinsics[0, :2, 2] - cameras.width / 2
        torch.testing.assert_close(ours - arrays["gauss_pixel_full"], shift.expand_as(ours), atol=1e-3, rtol=0)


def test_matrices_of_the_published_cameras():
    """Row vectors: world to camera and the projection, near 0.01 and far 100, are stored transposed."""
    for name in samples():
        arrays = sample(name)
        cameras = cameras_of(arrays)
        view = torch.eye(4)
        view[:3, :3] = cameras.rotation[0].T
        view[3, :3] = cameras.translation[0]
        close(arrays["world_view_transform"], view)
        close(arrays["full_proj_transform"], view @ arrays["projection_matrix"])
        close(arrays["camera_center"], -cameras.rotation[0].T @ cameras.translation[0])
        for axis, key in enumerate(("fovx", "fovy")):
            focal = cameras.intrinsics[0, axis, axis].item()
            assert arrays[key].item() == pytest.approx(2 * math.atan(cameras.width / 2 / focal), abs=1e-4)
        close(arrays["projection_matrix"], projection(arrays["fovx"], arrays["fovy"], 0.01, 100.0).T)
        clip = torch.cat([arrays["points_world"], torch.ones(len(arrays["points_world"]), 1)], 1)
        clip = clip @ arrays["full_proj_transform"]
        ndc = clip[:, :3] / clip[:, 3:]
        close(arrays["gauss_ndc"], ndc)
        close(((ndc[:, :2] + 1) * cameras.width - 1) / 2, arrays["gauss_pixel_full"])
        direct = arrays["points_camera"][:, :2] / arrays["depth"][:, None]
        focal = torch.diagonal(arrays["intrinsics_ndc"])[:2]
        close(arrays["mesh_ndc_ydown"], direct * focal + arrays["intrinsics_ndc"][:2, 2])


def projection(fovx, fovy, near, far):
    """Perspective of the splats: x and y by the field of view, z in [0, 1]."""
    return torch.tensor(
        [
            [1 / math.tan(fovx / 2), 0, 0, 0],
            [0, 1 / math.tan(fovy / 2), 0, 0],
            [0, 0, far / (far - near), -far * near / (far - near)],
            [0, 0, 1, 0],
        ]
    )


def test_the_two_camera_functions():
    arrays = published_arrays("camera.npz")
    near, far, fovx, fovy = arrays["fn/proj_args_znear_zfar_fovx_fovy"].tolist()
    close(arrays["fn/proj"], projection(fovx, fovy, near, far))
    view = torch.eye(4)
    view[:3, :3] = arrays["fn/R_arg"].T
    view[:3, 3] = arrays["fn/t_arg"]
    close(arrays["fn/world2view2"], view)
    close(arrays["fn/world2view2_translate_scale"][:3, :3], view[:3, :3])  # moving the camera turns nothing


def test_rotations():
    arrays = published_arrays("rotations.npz")
    close(axis_angle_to_matrix(arrays["axis_angle"]), arrays["so3_exp"])
    close_up_to_sign(matrix_to_quat(arrays["so3_exp"]), arrays["quat_from_matrix"])
    unit = torch.nn.functional.normalize(arrays["quat_unnormalised"], dim=-1)
    close(quat_to_matrix(unit), arrays["matrix_from_quat"])


def test_logarithms_of_rotations():
    """Nothing here needs one. The published one extrapolates the arc cosine: near pi it is no logarithm any more."""
    arrays = published_arrays("rotations.npz")
    matrix = arrays["so3_exp"].double()
    cosine = (matrix.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2
    bound = 1 - 1e-4
    inner = cosine.clamp(-bound, bound)
    angle = torch.acos(inner) - (cosine - inner) / math.sqrt(1 - bound**2)
    sine = angle.sin()
    factor = torch.where(sine.abs() > 5e-5, angle / (2 * sine), 0.5 + angle.square() / 12)
    turned = factor[:, None, None] * (matrix - matrix.transpose(1, 2))
    logarithms = torch.stack([turned[:, 2, 1], turned[:, 0, 2], turned[:, 1, 0]], -1)
    close(logarithms, arrays["so3_log"])
    usual = arrays["axis_angle"].norm(dim=-1) < 3.1
    assert usual.any()
    back = axis_angle_to_matrix(arrays["so3_log"])
    close(back[usual], arrays["so3_exp"][usual])


# Samples.


def test_published_landmarks_and_cameras_of_the_samples():
    root = published_fixtures()
    expected = published_arrays("h5_expected.npz")
    size = expected["s0/face_mask"].shape[-1]
    dataset = HeadDataset(root / "h5", "train", size)
    rows = sorted({int(name.split("/")[0][1:]) for name in expected if name.startswith("s")})
    assert len(rows) == len(dataset)
    batch = dataset.batch(list(range(len(rows))))
    landmarks = published_landmarks(batch.landmarks_3d, batch.cameras)
    differs = 0
    for i, row in enumerate(rows):
        arrays = {key.removeprefix(f"s{row}/"): value for key, value in expected.items() if key.startswith(f"s{row}/")}
        close(landmarks[i], arrays["ldms_3d"])
        differs += int((landmarks[i] - batch.landmarks_3d[i]).abs().max() > 1e-2)
        rotation = batch.cameras.rotation[i]
        close(arrays["world_view_transform"][:3, :3], rotation.T)
        close(arrays["world_view_transform"][3, :3], batch.cameras.translation[i])
        close(arrays["camera_center"], -rotation.T @ batch.cameras.translation[i])
        close(arrays["full_proj_transform"], arrays["world_view_transform"] @ arrays["projection_matrix"])
        for axis, key in enumerate(("fovx", "fovy")):
            focal = batch.cameras.intrinsics[i, axis, axis].item()
            assert arrays[key].item() == pytest.approx(2 * math.atan(size / 2 / focal), abs=1e-4)
        assert int(arrays["cam_ind"]) == dataset.cameras[i]
    assert differs > 0
    first = batch.rows([0])
    neutral = world_to_head(landmarks[:1], first.parameters.pose, first.parameters.scale)
    close(neutral[0], expected["init_landmarks_3d_neutral"])
