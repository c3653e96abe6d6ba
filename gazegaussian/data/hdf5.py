"""The data set: images with labels from subject files, one sample at a time, and their batches.

Differences from the published loader, on purpose: landmarks go to the world frame by the true inverse R^T (P - t) of
the camera transform (the published code computes R (P - t), right for symmetric R only); unusable images are left out
of the index instead of being replaced by random ones.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from gazegaussian.data.pixels import MASKS, erode, resize, usable_rows
from gazegaussian.data.published_sets import find_set, set_of_prefix
from gazegaussian.data.samples import Sample, collate
from gazegaussian.data.schema import MIN_LATENT_COLUMNS, TRAINING_ONLY, write_subject
from gazegaussian.data.splits import HELD_OUT, keys_of
from gazegaussian.data.subject_file import SubjectFile
from gazegaussian.data.synthetic.folder import SETTINGS_FILE, subject_path
from gazegaussian.dimensions import IDENTITY_DIM
from gazegaussian.errors import DataError
from gazegaussian.geometry.rotations import axis_angle_to_matrix
from gazegaussian.types import Batch

__all__ = ["HeadDataset", "Sample", "SubjectFile", "collate", "redirection_pairs", "write_subject"]
logger = logging.getLogger(__name__)

_EVERY = 100  # every 100th tracked vertex joins the landmarks
_CACHE_LIMIT = 500_000_000  # bytes


class HeadDataset(Dataset):
    """Images of a split, square, at one size.

    Attributes:
        keys: File names without prefix, one per subject.
        skipped: Images left out because the head mask is constant, or both eye masks are.
        subjects: Subject number (row of `keys`) of each image. [N]
        gaze: (pitch, yaw) of each image, rad, head frame. [N, 2]
        cameras: Camera number of each image, -1 where the file does not say. [N]
        posed: Whether its files hold head poses; where not, samples have the identity, scale 1 and no 3D landmarks.
    """

    def __init__(
        self,
        root: Path | str,
        split: str | Sequence[str] = "train",
        size: int = 256,
        prefix: str | None = None,
        max_images: int | None = None,
        cache: bool = False,
        for_training: bool = True,
    ) -> None:
        """Index a data folder.

        Args:
            root: Folder with subject files.
            split: Name of a split (`train`, `val`, `test`, `held_out` for the last two, others that the folder lists), or
                file names with or without prefix. Test people of synthetic heads are made when they are first read.
            size: Width and height of the images in pixels.
            prefix: The data set's file prefix; None finds it by the files.
            max_images: Keep this many images, spread evenly over the split.
            cache: Decode everything now and keep it as bytes, when it fits into 0.5 GB.
            for_training: Ask for the keys that the evaluation-only data sets lack.

        Raises:
            DataError: When the folder, a file or the split is unusable, or nothing usable is left.
        """
        self.root = Path(root)
        self.size = size
        if size < 1 or (max_images is not None and max_images < 1):
            raise DataError(f"{root}: expected size and max_images of at least 1, found {size} and {max_images}")
        self.prefix = find_set(self.root).prefix if prefix is None else prefix
        self.keys = self._resolve(split)
        self._files = [SubjectFile(subject_path(self.root, f"{self.prefix}{key}"), for_training) for key in self.keys]
        self.posed = all(key in file for file in self._files for key in TRAINING_ONLY)
        usable = [usable_rows(file) for file in self._files]
        self.skipped = sum(len(file) for file in self._files) - sum(map(len, usable))
        if self.skipped:
            logger.warning("%s: skipped %d images with a constant head mask or constant eye masks", root, self.skipped)
        rows = [(subject, row) for subject, kept in enumerate(usable) for row in kept]
        if not rows:
            raise DataError(f"{root}: expected usable images in split {split!r}, found {self.skipped}, all skipped")
        if max_images is not None and len(rows) > max_images:
            rows = [rows[i * len(rows) // max_images] for i in range(max_images)]
        self._rows = rows
        self.subjects = np.array([subject for subject, _ in rows])
        self.gaze = self._labels("pitchyaw_head", np.float32)
        self.cameras = self._labels("cam_index", np.int64).ravel()
        anchors = [-(-file.shape("vertice")[1] // _EVERY) if self.posed else 0 for file in self._files]
        self._anchors = min(anchors)  # subjects may be tracked with different meshes; a batch needs one number
        if self._anchors != max(anchors):
            logger.warning("%s: tracked meshes differ; keeping %d extra landmarks of each", root, self._anchors)
        self._pictures: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
        self._label_cache: list[dict[str, NDArray[np.float64]]] | None = None
        if cache:
            self._fill_cache()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        """Decode one image with its labels."""
        image, masks = self._decode(index) if self._pictures is None else (a[index] for a in self._pictures)
        read = self._read_labels(index) if self._label_cache is None else self._label_cache[index]
        rotation = read["w2c_Rmat"]
        translation = read["w2c_Tvec"]
        points = np.concatenate([read["facial_landmarks_3d"], read["vertice"]]) if self.posed else np.empty((0, 3))
        factor = self.size / self._where(index)[0].size
        flags = torch.from_numpy(np.array(masks)).float()[:, None]  # [3, 1, S, S]
        code = read["latent_codes"]
        return Sample(
            image=torch.from_numpy(np.array(image)).float() / 255,
            head_mask=flags[0],
            left_eye_mask=flags[1],
            right_eye_mask=flags[2],
            landmarks_2d=_float((read["facial_landmarks"] + 0.5) * factor - 0.5),
            landmarks_3d=_float((points - translation) @ rotation),  # rows: R^T (P - t)
            shape_code=_float(np.concatenate([code[IDENTITY_DIM:MIN_LATENT_COLUMNS], code[:IDENTITY_DIM]])),
            pose=_float(read["pose"] if self.posed else np.zeros(6)),
            scale=_float(read["scale"] if self.posed else np.ones(1)),
            gaze=_float(read["pitchyaw_head"]),
            rotation=_float(rotation),
            translation=_float(translation),
            intrinsics=_float(read["inmat"] * np.array([[factor], [factor], [1.0]])),
            index=torch.tensor(index if index >= 0 else len(self) + index),
        )

    def batch(self, indices: Sequence[int]) -> Batch:
        """Decode some images into a batch."""
        return collate([self[index] for index in indices])

    def close(self) -> None:
        """Close this process's files; reading opens them again."""
        for file in self._files:
            file.close()

    def location(self, index: int) -> tuple[str, int]:
        """File name without prefix and row in the file of an image."""
        subject, row = self._rows[index]
        return self.keys[subject], row

    def most_frontal(self) -> list[int]:
        """Rows of the images, one of every subject, in which the face looks into the camera; without head poses the first."""
        turned = np.zeros(len(self))
        if self.posed:
            pose = torch.from_numpy(self._labels("pose", np.float32))
            forward = axis_angle_to_matrix(pose[:, :3])[:, :, 2].numpy()  # [N, 3] world
            turned = (self._labels("w2c_Rmat", np.float32)[:, 2] * forward).sum(-1)  # depth of it: -1 is at the camera
        order = np.lexsort((turned, self.subjects))
        return [int(order[first]) for first in np.unique(self.subjects[order], return_index=True)[1]]

    def stored_size(self, index: int) -> int:
        """Width of an image in its file, pixels."""
        return self._where(index)[0].size

    def _where(self, index: int) -> tuple[SubjectFile, int]:
        subject, row = self._rows[index]
        return self._files[subject], row

    def _resolve(self, split: str | Sequence[str]) -> list[str]:
        if isinstance(split, str):
            if split in ("test", HELD_OUT) and (self.root / SETTINGS_FILE).is_file():
                from gazegaussian.data.synthetic.dataset import ensure_test_people  # synthetic data sets only

                ensure_test_people(self.root)
            keys = keys_of(self.root, split, self.prefix)
        else:
            keys = [key.removeprefix(self.prefix) for key in split]
        if not keys:
            known = set_of_prefix(self.prefix)
            hint = f"; {known.title} is for evaluation only" if known and known.evaluation_only else ""
            raise DataError(f"{self.root}: expected subjects in split {split!r}, found an empty list{hint}")
        return keys

    def _labels(self, key: str, dtype: type) -> NDArray:
        """Read a small key for all indexed images; -1 where a file lacks it."""
        columns = []
        for subject, file in enumerate(self._files):
            rows = [row for owner, row in self._rows if owner == subject]
            if rows:
                columns.append(file.read(key, slice(None))[rows] if key in file else np.full((len(rows), 1), -1))
        return np.concatenate(columns).astype(dtype)

    def _read_labels(self, index: int) -> dict[str, NDArray[np.float64]]:
        """Read the labels of an image as stored, of `vertice` only the landmarks."""
        file, row = self._where(index)
        labels = [key for key in _LABELS if self.posed or key not in TRAINING_ONLY]
        read = {key: file.read(key, row).astype(np.float64) for key in labels}
        if self.posed:
            read["vertice"] = file.read("vertice", row)[::_EVERY][: self._anchors].astype(np.float64)
            if not np.isfinite(read["vertice"]).all():
                raise DataError(f"{file.path}: vertice: expected finite numbers, found others in image {row}")
        return read

    def _decode(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the RGB image [3, S, S] over white and the masks [3, S, S] (head, left eye, right eye) in {0, 1}."""
        file, row = self._where(index)
        rgb = file.read("face_patch", row)[..., ::-1].transpose(2, 0, 1)
        masks = np.stack([file.read(key, row) for key in MASKS])
        masks[0] = erode(masks[0])
        # Whole numbers throughout: (rgb * head + 255 * (255 - head)) / 255 rounded, at most 65152 before the division.
        head = masks[0].astype(np.uint16)
        image = ((rgb * head + 255 * (255 - head) + 127) // 255).astype(np.uint8)
        if file.size != self.size:
            image, masks = (resize(pixels, self.size) for pixels in (image, masks))
        return image, (masks >= 128).astype(np.uint8)

    def _fill_cache(self) -> None:
        need = len(self) * 6 * self.size * self.size
        if need > _CACHE_LIMIT:
            logger.warning(
                "%s: not cached in memory: needs %.1f GB, limit %.1f GB", self.root, need / 1e9, _CACHE_LIMIT / 1e9
            )
            return
        images = np.empty((len(self), 3, self.size, self.size), np.uint8)
        masks = np.empty_like(images)
        for i in range(len(self)):
            images[i], masks[i] = self._decode(i)
        logger.info("%s: cached %d images in %.0f MB of memory", self.root, len(self), need / 1e6)
        self._pictures = (images, masks)
        self._label_cache = [self._read_labels(i) for i in range(len(self))]
        self.close()


_LABELS = (
    "facial_landmarks",
    "facial_landmarks_3d",
    "w2c_Rmat",
    "w2c_Tvec",
    "inmat",
    "pose",
    "scale",
    "latent_codes",
    "pitchyaw_head",
)


def _float(values: NDArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def redirection_pairs(dataset: HeadDataset, per_subject: int, seed: int = 0) -> list[tuple[int, int]]:
    """Choose (source, target) images of the same subject that differ in gaze and, where possible, in camera.

    Args:
        dataset: The data set.
        per_subject: Pairs per subject; a subject with a single image gives none.
        seed: Other pairs for another seed; the same ones for the same.

    Returns:
        Pairs of indices, ordered by subject.
    """
    pairs = []
    for subject in range(len(dataset.keys)):
        images = np.flatnonzero(dataset.subjects == subject)
        rng = np.random.default_rng([seed, subject])
        for source in rng.permutation(np.resize(images, per_subject)) if len(images) > 1 else []:
            others = images[images != source]
            moved = others[np.abs(dataset.gaze[others] - dataset.gaze[source]).max(1) > 1e-3]
            moved = moved if len(moved) else others
            elsewhere = moved[dataset.cameras[moved] != dataset.cameras[source]]
            pairs.append((int(source), int(rng.choice(elsewhere if len(elsewhere) else moved))))
    return pairs
