"""Commands about data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from helpers.cli.options import JsonOption
from helpers.cli.printing import print_data_report


def synth(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write.")],
    people: Annotated[
        int, typer.Option(min=2, metavar="N", help="Subjects; every fifth, at least one, is for validation.")
    ] = 30,
    size: Annotated[int, typer.Option(min=32, metavar="PIXELS", help="Width and height of an image.")] = 128,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Other seeds are other people.")] = 0,
    frames: Annotated[int, typer.Option(min=1, metavar="N", help="Frames per person.")] = 2,
    cameras: Annotated[
        int,
        typer.Option(
            min=1, max=18, metavar="N", help="Cameras that see a frame; fewer than 18: others for every frame."
        ),
    ] = 18,
    test_people: Annotated[
        int, typer.Option(min=0, metavar="N", help="Further subjects for testing, made when they are first read.")
    ] = 40,
    workers: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Processes; 0 works in this one [the available cores].")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write synthetic heads with exact labels in the published HDF5 layout, or complete an unfinished folder of them."""
    from gazegaussian.data import SyntheticSettings, synthesize

    settings = SyntheticSettings(
        people=people, size=size, seed=seed, frames=frames, cameras=cameras, test_people=test_people
    )
    synthesize(folder, settings, workers=workers)
    print_data_report(folder, as_json)


def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of HDF5 subjects.")], as_json: JsonOption = False
) -> None:
    """Inspect a data set; exit code 2 when something in it cannot be used."""
    if not print_data_report(folder, as_json):
        raise typer.Exit(2)


def download(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="eth_xgaze, columbia, mpii_face_gaze or gaze_capture (configs/datasets)."),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the subject files go.")],
    split: Annotated[
        list[str] | None,
        typer.Option(metavar="SPLIT", help="Only this one (train, val); repeat for several [all]."),
    ] = None,
    repository: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="On the hub [the one in configs/datasets].")
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Branch, tag or commit of the repository [the one in configs/datasets]."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a published data set from the model hub; the same command resumes after an interruption.

    Sizes and checksums are checked. These are photographs of people: mind the data sets' own terms of use.
    """
    from gazegaussian.data.download.datasets import download_set

    download_set(name, folder, split or (), repository, revision)
    print_data_report(folder, as_json)
