"""The one configuration schema: what a run is, in YAML.

A run configuration has five sections (`data`, `model`, `loss`, `optim`, `training`), one class each, rejected at birth when
a value makes no sense. Field names are unique over the sections, so that a study can call a parameter by its bare name;
`with_parameters` maps such names to fields and rejects unknown ones with the list of the known.

Defaults are the published sizes; `configs/*.yaml` holds the smaller ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from gazegaussian.errors import ConfigError
from gazegaussian.fields import Section, check_parameter_names, explain, parameter_fields
from gazegaussian.stages import StageSpec, register, stage_spec
from gazegaussian.utils.yaml_files import read_yaml

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Network = Literal[
    "geometry", "shape_color", "pose_color", "eye_color", "shape_deform", "pose_deform", "eye_rotation",
    "shape_attributes", "pose_attributes", "eye_attributes",
]  # fmt: skip


class StageData(Section):
    """Data of any stage. A stage of your own adds what it needs, and reads these where they are set."""

    root: Path | None = Field(None, description="folder or file of the data; empty = what the stage brings along")
    max_train_images: PositiveInt | None = Field(None, description="samples per epoch, drawn anew every epoch")
    max_val_images: PositiveInt | None = Field(
        None, description="validation samples, the same in every epoch and trial"
    )
    workers: NonNegativeInt = Field(0, description="processes that read images; 0 reads in the training process")


class DataConfig(StageData):
    """Where images come from. Without `root`, synthetic heads are generated and cached under `cache`."""

    root: Path | None = Field(None, description="folder of HDF5 subjects; empty = embedded synthetic heads")
    cache: Path = Field(Path("data"), description="where synthetic heads are kept")
    image_size: PositiveInt = Field(512, le=8192, description="pixels; a multiple of 32")
    people: PositiveInt = Field(40, description="synthetic people, every fifth for validation")
    frames: PositiveInt = Field(3, description="synthetic frames per person, each seen by `cameras` cameras")
    cameras: PositiveInt = Field(
        18, le=18, description="cameras, of 18, that see a synthetic frame; fewer: others for every frame"
    )
    synthetic_seed: NonNegativeInt = Field(0, description="other seeds give other synthetic people")
    max_train_images: PositiveInt | None = Field(None, description="images per epoch, drawn anew every epoch")
    max_val_images: PositiveInt | None = Field(None, description="validation images, the same in every epoch and trial")

    @model_validator(mode="after")
    def _size(self) -> DataConfig:
        if self.image_size % 32:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of 32; {self.image_size // 32 * 32} would do"
            )
        return self


_EARLIER_VARIANTS = {"ours": "default", "published": "released"}


def current_variant(name: Any) -> Any:
    """Name of a variant; configurations and checkpoints of earlier versions call the two `ours` and `published`."""
    return _EARLIER_VARIANTS.get(name, name) if isinstance(name, str) else name


def earlier_variant(name: str) -> str:
    """Name that earlier versions gave a variant."""
    return next((old for old, new in _EARLIER_VARIANTS.items() if new == name), name)


Variant = Annotated[Literal["default", "released"], BeforeValidator(current_variant)]


class MeshHeadModel(Section):
    """Sizes of the MeshHead networks (published: Wei et al. 2025, code release)."""

    variant: Variant = Field("default", description="released: behaves as the released code did")
    grid_resolution: PositiveInt = Field(128, le=512, description="cells per axis of the tetrahedral grid")
    geometry_width: PositiveInt = Field(256, description="hidden width of the geometry network")
    shape_mlp_width: PositiveInt = Field(256, description="hidden width of the shape branch (colour and deformation)")
    pose_mlp_width: PositiveInt = Field(256, description="hidden width of the pose deformation; its colour has half")
    eye_mlp_width: PositiveInt = Field(128, description="hidden width of the eye branch (colour and rotation)")
    landmarks: PositiveInt = Field(103, description="68 landmarks and every 100th tracked vertex")
    mlp_widths: dict[Network, tuple[PositiveInt, ...]] = Field(
        {}, description="hidden widths of single networks instead of the above; imports fill it in where they need to"
    )
    eye_motion: Literal["rotate", "offset"] = Field(
        "rotate", description="offset: gaze moves eye points one by one; variant released only"
    )

    @model_validator(mode="after")
    def _motion(self) -> MeshHeadModel:
        if self.variant == "default" and self.eye_motion != "rotate":
            raise ValueError("eye_motion 'offset' needs variant: released; rotate would do")
        return self


class MeshHeadLoss(Section):
    """Weights of the MeshHead loss."""

    color_importance: NonNegative = Field(1.0, description="weight of the L1 of colours inside the head mask")
    silhouette_importance: NonNegative = Field(0.1, description="weight of 1 - IoU of the silhouettes")
    landmark_deform_importance: NonNegative = Field(0.1, description="weight of the landmarks' squared error")
    offset_importance: NonNegative = Field(0.01, description="weight of the mesh's squared deformation")
    landmark_sdf_importance: NonNegative = Field(0.1, description="weight of the surface's distance to the landmarks")
    laplacian_importance: NonNegative = Field(100.0, description="weight of the Laplacian smoothness of the mesh")


class GazeGaussianModel(Section):
    """Sizes of the two streams and of the neural renderer."""

    variant: Variant = Field("default", description="released: behaves as the released code did")
    renderer: Literal["dit", "conv"] = Field("dit", description="diffusion transformer or convolutional network")
    feature_downscale: Literal[2, 4] = Field(4, description="image size over feature map size")
    exact_colors: bool = Field(
        False,
        description="variant default: the renderer begins by showing the splatted colours as they are, white as white",
    )
    face_subdivisions: NonNegativeInt = Field(
        1, le=5, description="midpoint subdivisions of the neutral mesh, face stream"
    )
    eye_subdivisions: NonNegativeInt = Field(
        1, le=5, description="midpoint subdivisions of the neutral mesh, eye stream"
    )
    focus_subdivisions: NonNegativeInt = Field(
        0, le=4, description="variant default: further subdivisions around mouth, nose and brows, face stream"
    )
    code_basis_rank: NonNegativeInt = Field(
        0,
        le=144,
        description="variant default: rank of the linear map from the shape code to every point's offset, colour and opacity; 0 = none",
    )
    dit_depth: PositiveInt = Field(6, le=256, description="transformer blocks")
    dit_num_heads: PositiveInt = Field(8, description="attention heads per block")
    dit_patch_size: PositiveInt = Field(8, description="side of a token in pixels of the feature map, which it divides")
    dit_head_dim: PositiveInt = Field(32, description="channels per head; token width = dit_num_heads * dit_head_dim")

    @model_validator(mode="after")
    def _released_has_no_options(self) -> GazeGaussianModel:
        if self.variant == "released":
            added = {"feature_downscale": 4, "exact_colors": False, "focus_subdivisions": 0, "code_basis_rank": 0}
            for name, released in added.items():
                if getattr(self, name) != released:
                    raise ValueError(
                        f"{name} needs variant: default; with variant: released only {released} is possible"
                    )
        return self


class GazeGaussianLoss(Section):
    """Weights of the GazeGaussian loss and the epoch from which the perceptual and gaze terms act."""

    vgg_importance: NonNegative = Field(0.1, description="weight of the perceptual terms, read by the guide network")
    eye_loss_importance: NonNegative = Field(1.0, description="weight of the terms of the eyes")
    face_loss_importance: NonNegative = Field(1.0, description="weight of the terms of the face")
    gaze_loss_importance: NonNegative = Field(0.1, description="weight of the gaze angle, read by the guide network")
    orthogonality_loss_importance: NonNegative = Field(
        0.01, description="weight of the cosine between features of a stream's branches"
    )
    ssim_importance: NonNegative = Field(0.1, description="weight of 1 - SSIM")
    eye_region_importance: NonNegative = Field(
        0.0,
        description="variant default: L1 inside the eye masks over their own area; in the published terms an eye is 1% of the image",
    )
    features_region_importance: NonNegative = Field(
        0.0, description="variant default: L1 of the image around mouth, nose and brows over their own area"
    )
    features_coarse_importance: NonNegative = Field(
        0.0,
        description="variant default: the same of means over squares of 1/32 of the image: a mouth that opens a few pixels beside its place counts as open",
    )
    layer_images: bool = Field(
        True,
        description="published: render the face alone and the eyes alone, too; false: L1 of their splatted colours only",
    )
    perceptual_start_epoch: NonNegativeInt = Field(5, description="epochs before the perceptual and gaze terms act")
    identity_offset_importance: NonNegative = Field(0.001, description="penalty on per-image identity offsets")
    expression_offset_importance: NonNegative = Field(1.0, description="penalty on per-image expression offsets")
    camera_offset_importance: NonNegative = Field(0.001, description="penalty on per-image camera offsets")


class StageOptim(Section):
    """Adam, for any stage."""

    lr: Positive = Field(1e-3, description="learning rate of the networks")
    max_grad_norm: Positive = Field(1.0, description="gradients are clipped to this norm")
    lr_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="learning rate of the last epoch over the first's"
    )


class OptimConfig(StageOptim):
    """Adam and its per-group learning rates."""

    landmark_lr_mult: NonNegative = Field(0.1, description="MeshHead landmarks, times lr")
    dit_lr_mult: NonNegative = Field(1.0, description="the DiT blocks of the neural renderer, times lr")
    eye_lr_mult: NonNegative = Field(1.0, description="every parameter of the eye stream, times lr")
    means_lr_mult: NonNegative = Field(0.1, description="Gaussians' means, times lr")
    features_lr_mult: NonNegative = Field(0.1, description="Gaussians' features, times lr")
    scales_lr_mult: NonNegative = Field(0.3, description="Gaussians' scales, times lr")
    quats_lr_mult: NonNegative = Field(0.1, description="Gaussians' rotations, times lr")
    code_basis_lr_mult: NonNegative = Field(1.0, description="linear map of the shape code, times lr")
    offset_lr_mult: NonNegative = Field(0.1, description="per-image code and camera offsets, times lr")


class StageTraining(Section):
    """The epoch loop, for any stage."""

    epochs: PositiveInt = Field(10, description="passes over the images")
    batch_size: PositiveInt = Field(1, description="images per step")
    seed: NonNegativeInt = Field(0, description="of weights, order and draws; a study's `seed` is the sampler's")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is a GPU")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: fp32 on CPU, bf16/fp16 on CUDA"
    )
    patience: PositiveInt | None = Field(None, description="epochs without improvement before stopping; empty = never")
    min_delta: NonNegative = Field(0.0, description="smallest change that `patience` counts as an improvement")
    threads: PositiveInt | None = Field(None, description="CPU threads; empty = torch's choice")
    gpu_memory_gb: Positive | None = Field(
        None, description="GB of GPU memory that this training needs in half precision; a smaller GPU is rejected"
    )
    monitor: str = Field("val_loss", description="decides which epoch is best; any part of the validation metric")
    monitor_mode: Literal["min", "max"] = Field("min", description="whether a small or a large value is good")
    preview_images: NonNegativeInt = Field(4, description="validation images in the grid saved per epoch")


class TrainingConfig(StageTraining):
    """The epoch loop."""

    warm_start_steps: NonNegativeInt = Field(200, description="MeshHead: steps that fit the SDF to an ellipsoid first")


class GazeGaussianTraining(TrainingConfig):
    """The epoch loop of stage two."""

    splat_backend: Literal["auto", "warp", "torch", "gsplat"] = Field(
        "auto", description="what training splats with; auto: warp. gsplat needs CUDA and `pip install gsplat`"
    )


class StageRun(Section):
    """A run of any stage: the base of the configuration class of a stage of your own (see `gazegaussian.stages`)."""

    stage: str = ""  # a stage has its name as default
    init_from: Path | None = Field(None, description="checkpoint of this stage whose weights the training begins with")
    data: StageData = StageData()
    model: Section = Section()
    loss: Section = Section()
    optim: StageOptim = StageOptim()
    training: StageTraining = StageTraining()

    @property
    def starts_from(self) -> Path | None:
        """Checkpoint of another stage that the training starts from."""
        return None


class MeshHeadRun(StageRun):
    """A run of stage one."""

    stage: Literal["meshhead"] = Field("meshhead", description="names the schema")
    data: DataConfig = DataConfig()
    model: MeshHeadModel = MeshHeadModel()
    loss: MeshHeadLoss = MeshHeadLoss()
    optim: OptimConfig = OptimConfig(lr=1e-3)
    training: TrainingConfig = TrainingConfig()


class GazeGaussianRun(StageRun):
    """A run of stage two; it starts from `meshhead_checkpoint`, or from `init_from`."""

    stage: Literal["gazegaussian"] = Field("gazegaussian", description="names the schema")
    meshhead_checkpoint: Path | None = Field(None, description="best checkpoint of stage one")
    data: DataConfig = DataConfig()
    model: GazeGaussianModel = GazeGaussianModel()
    loss: GazeGaussianLoss = GazeGaussianLoss()
    optim: OptimConfig = OptimConfig(lr=1e-4)
    training: GazeGaussianTraining = GazeGaussianTraining(epochs=30)

    @property
    def starts_from(self) -> Path | None:
        """MeshHead checkpoint that the training starts from."""
        return self.meshhead_checkpoint

    @model_validator(mode="after")
    def _patch_divides_map(self) -> GazeGaussianRun:
        side = self.data.image_size // self.model.feature_downscale
        if self.model.renderer == "dit" and side % self.model.dit_patch_size:
            raise ValueError(
                f"dit_patch_size {self.model.dit_patch_size} does not divide the {side} px feature map "
                f"(image_size {self.data.image_size} / feature_downscale {self.model.feature_downscale}); 4 or 8 would do"
            )
        return self


RunConfig = StageRun
RunT = TypeVar("RunT", bound=StageRun)
# Of this repository; `gazegaussian.stages` knows those of users, too.
STAGES: dict[str, type[MeshHeadRun] | type[GazeGaussianRun]] = {
    "meshhead": MeshHeadRun,
    "gazegaussian": GazeGaussianRun,
}
_SHOWN = ("gaze_error_deg", "psnr", "silhouette_iou")

register(
    StageSpec(
        name="meshhead",
        config=MeshHeadRun,
        build="gazegaussian.build:build_mesh_head_stage",
        check="gazegaussian.build:check_heads",
        metrics=_SHOWN,
        pictures=(
            "the target is the held-out image, whose codes are all given; below it what the mesh renders of them, and the "
            "silhouette of that"
        ),
    )
)
register(
    StageSpec(
        name="gazegaussian",
        config=GazeGaussianRun,
        build="gazegaussian.build:build_gaze_gaussian_stage",
        check="gazegaussian.build:check_heads",
        metrics=_SHOWN,
        pictures=(
            "the source gives the identity, the target gives gaze, head pose and expression and is what is to come out; "
            "below it what was rendered, and the first three feature channels before the neural renderer as colours"
        ),
    )
)


def parse_run(content: Mapping[str, Any], stage: str | None = None, origin: str = "configuration") -> RunConfig:
    """Validate the content of a run configuration.

    Args:
        content: Parsed YAML or JSON.
        stage: The stage that is wanted, or None to accept what the content says.
        origin: Named in errors.

    Raises:
        ConfigError: With the field, the value and what is allowed.
    """
    named = content.get("stage", stage)
    try:
        schema = stage_spec(named if isinstance(named, str) else repr(named)).config
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from None
    if stage is not None and named != stage:
        raise ConfigError(f"{origin} configures stage {named!r}, but {stage!r} was asked for.")
    try:
        return cast(RunConfig, schema.model_validate({str(key): value for key, value in content.items()}))
    except ValidationError as error:
        raise ConfigError(f"{origin}: {explain(error, schema)}") from error


def load_run(path: Path, stage: str | None = None) -> RunConfig:
    """Read a run configuration from YAML (see `parse_run`)."""
    return parse_run(read_yaml(path), stage, str(path))


def with_parameters(config: RunT, parameters: Mapping[str, Any], origin: str = "parameters") -> RunT:
    """Return a copy of the configuration with bare-named fields replaced, validated anew.

    Raises:
        ConfigError: An unknown name or a value the schema rejects.
    """
    check_parameter_names(config, list(parameters), origin)
    known = parameter_fields(config)
    content = config.model_dump(mode="json")
    for name, value in parameters.items():
        section, field = known[name]
        content[section][field] = value
    try:
        return cast(RunT, type(config).model_validate(content))
    except ValidationError as error:
        raise ConfigError(f"{origin}: {explain(error, type(config))}") from error
