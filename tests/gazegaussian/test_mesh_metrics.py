"""What MeshHeads are measured by: contour, roughness, and what stage two makes of them."""

import json

import numpy as np
import pytest
import torch
import trimesh

from benchmarks.quality import stage_link
from benchmarks.quality.expression import darkness, slope_with_interval
from gazegaussian.errors import ConfigError
from gazegaussian.mesh_metrics import boundary_f_score, roughness


def disc(centre, radius, size=64):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return (((x - centre[0]) ** 2 + (y - centre[1]) ** 2) < radius**2).float()[None, None]


def test_the_contour_counts_where_it_lies_within_the_tolerance():
    target = disc((32, 32), 20)
    assert boundary_f_score(target, target).item() == 1
    assert boundary_f_score(disc((33, 32), 20), target).item() > 0.9
    torn = target.clone()
    torn[..., 20:44, 31:33] = 0  # a slit: the area hardly changes, the contour does
    assert 0.5 < boundary_f_score(torn, target).item() < 0.85
    assert boundary_f_score(disc((10, 10), 4), disc((50, 50), 4)).item() == 0
    assert boundary_f_score(torch.zeros_like(target), target).item() == 0


def test_roughness_is_zero_for_a_plane_and_grows_with_spikes():
    plane = trimesh.creation.box().subdivide().subdivide()
    faces = torch.tensor(np.asarray(plane.faces))
    top = faces[torch.tensor(plane.face_normals[:, 2] > 0.9)]
    vertices = torch.tensor(np.asarray(plane.vertices), dtype=torch.float32)
    assert roughness(vertices, top).item() == pytest.approx(0, abs=1e-6)
    sphere = trimesh.creation.icosphere(subdivisions=3)
    smooth = torch.tensor(np.asarray(sphere.vertices), dtype=torch.float32)
    balls = [
        smooth * (1 + scale * torch.randn(len(smooth), 1, generator=torch.Generator().manual_seed(0)))
        for scale in (0, 0.05, 0.2)
    ]
    values = [roughness(ball, torch.tensor(np.asarray(sphere.faces))).item() for ball in balls]
    assert values[0] < 0.02 < values[1] < values[2]


def test_stage_link_ranks_the_metric_that_chooses_best(tmp_path, capsys):
    rng = np.random.default_rng(0)
    with (tmp_path / "stage_link-0.jsonl").open("w") as file:
        for index in range(24):
            worth = float(rng.uniform(0.15, 0.25))
            mesh = {
                "good": worth + rng.normal(0, 1e-3),
                "val_loss": rng.uniform(),
                "boundary_f": -worth,
                "loss_color": worth,
            }
            row = {
                "index": index,
                "params": {},
                "mesh": mesh,
                "stage_two": [
                    {"val_loss": best, "epochs": [rng.uniform(), best]} for best in worth + rng.normal(0, 1e-3, 2)
                ],
            }
            file.write(json.dumps(row) + "\n")
        file.write(json.dumps({"index": 24, "params": {}, "stage_two": [], "failed": "diverged"}) + "\n")
    stage_link.report(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("24 MeshHeads")
    assert float(lines[1].split("Spearman ")[1].split(",")[0]) > 0.9
    end = next(index for index, line in enumerate(lines) if line.startswith("against"))
    names = [line.split()[0] for line in lines[3:end]]
    assert set(names[:2]) == {"good", "boundary_f"}
    assert names[2] == "val_loss"
    assert len(names) == 3, "parts of the training loss are no candidates"
    assert float(lines[3].split()[4]) > 0.9, "on the MeshHeads that did not choose"
    short = {line[:24].strip(): float(line.split()[-3]) for line in lines[end + 1 :]}
    assert list(short) == ["val_loss", "stage two, epoch 1", "stage two, epoch 2"]
    assert short["stage two, epoch 1"] < 0.7 < short["stage two, epoch 2"], "the first epoch was drawn at random"


def test_random_mesh_heads_stay_inside_the_searched_space():
    first = stage_link.draw(0, 1)
    assert first == stage_link.draw(0, 1)
    assert first != stage_link.draw(0, 2)
    assert stage_link.LR_RANGE[0] <= first["lr"] <= stage_link.LR_RANGE[1]


def test_mesh_heads_of_another_seed_are_not_taken_for_recorded(tmp_path):
    row = {"index": 1, "params": stage_link.draw(0, 1), "mesh": {}, "stage_two": []}
    (tmp_path / "stage_link-1.jsonl").write_text(json.dumps(row) + "\n")
    stage_link.record(tmp_path, count=2, part=(1, 2), seed=0, epochs=None)
    with pytest.raises(ConfigError, match="another --seed than 1"):
        stage_link.record(tmp_path, count=2, part=(1, 2), seed=1, epochs=None)


def test_the_slope_of_the_mouth_is_found_within_people_and_its_interval_covers():
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        people = np.repeat(np.arange(20), 6)
        true = rng.normal(0, 0.1, 120) + rng.normal(0, 0.5, 20)[people]  # skin differs between people
        rendered = 0.4 * true + rng.normal(0, 0.05, 120) + rng.normal(0, 0.5, 20)[people]
        slope, low, high = slope_with_interval(true, rendered, people)
        assert abs(slope - 0.4) < 0.25
        covered += low <= 0.4 <= high
    assert covered >= 54
    assert slope_with_interval(true, 0.5 * true, people)[1:] == (None, None), "all people have the same slope"


def test_an_open_mouth_is_darker():
    landmarks = torch.zeros(1, 68, 2)
    angle = torch.linspace(0, 2 * torch.pi, 13)[:-1]
    landmarks[0, 48:60] = torch.stack([32 + 12 * angle.cos(), 40 + 6 * angle.sin()], dim=-1)
    closed = torch.full((1, 3, 64, 64), 0.7)
    opened = closed.clone()
    opened[..., 38:43, 26:39] = 0.1
    assert darkness(opened, landmarks)[0] > darkness(closed, landmarks)[0] + 0.1
