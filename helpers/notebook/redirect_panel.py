"""Sliders for gaze and head pose over one trained model, or over several beside each other.

Callbacks run in the kernel's main thread (what other threads update is not drawn in Colab). The front end holds back what a
busy kernel has not answered and then sends the newest value alone; what still comes in bursts is joined by `Coalesced`.
"""

from __future__ import annotations

import asyncio
import html
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

import ipywidgets as widgets
from IPython.display import Image as InlineImage
from IPython.display import display
from PIL import Image

from gazegaussian.errors import UserError
from gazegaussian.utils.image_grid import to_pixels
from helpers.inference.animation import FRAMES, SWEEPS, sweep_angles, write_animation
from helpers.inference.scene import Angles, Drawn, People, Renderer, encode_png, side_by_side
from helpers.utils.formatting import signed_degrees
from helpers.utils.runtime import has_front_end, runtime_name

JOIN_SECONDS = 0.03  # long enough for a burst of messages, too short to be felt
SHOWN_WIDTH = "300px"
NO_BARS = "visible"  # else boxes get scroll bars where the margins of what is in them exceed their edge
_TIPS = {
    "gaze_pitch": "Gaze up (positive) or down, degrees in the head",
    "gaze_yaw": "Gaze to the right (positive) or left of the image, degrees in the head",
    "head_pitch": "Head up (positive) or down, degrees",
    "head_yaw": "Head to the right (positive) or left of the image, degrees",
}


def short_labels(titles: Sequence[str]) -> list[str]:
    """What stands under small pictures: the first words of titles, of trials of one study the trials.

    >>> short_labels(["toy, trial 0 (baseline): val_loss 0.1", "toy, trial 1: val_loss 0.2"])
    ['trial 0 (baseline)', 'trial 1']
    """
    parts = [title.partition(", ") for title in titles]
    alike = len({name for name, _, _ in parts}) < len(parts)
    return [rest.partition(":")[0] if alike and rest else name for name, _, rest in parts]


class RedirectPanel:
    """Sliders, a source image and what models make of it.

    Args:
        painters: One model, or several on the same sliders.
        people: Whom to draw.
        folder: Where sweeps are written.
        delay: Seconds in which changes are joined; default none in Colab, which draws only what a callback itself updates.
    """

    def __init__(self, renderers: Sequence[Renderer], people: People, folder: Path, delay: float | None = None) -> None:
        self.renderers = list(renderers)
        self.people = people
        self.folder = Path(folder)
        self.limits = people.limits()
        self._running = False
        self._make_inputs()
        self._make_outputs()
        default = 0.0 if runtime_name().startswith("Colab") else JOIN_SECONDS
        self._redraw = Coalesced(lambda: self._show_errors(self._draw), default if delay is None else delay)
        for slider in self.sliders.values():
            slider.observe(lambda _: self._ask(), "value")
        self.person.observe(lambda _: self._show_errors(self._choose_person), "value")
        self.frame.observe(lambda _: self._show_errors(self._choose_frame), "value")
        self.reset.on_click(lambda _: self._show_errors(self._choose_frame))
        self.write.on_click(lambda _: self._write())
        self._choose_person()

    @property
    def angles(self) -> Angles:
        """What the sliders say."""
        return Angles(**{name: float(slider.value) for name, slider in self.sliders.items()})

    def show(self) -> None:
        """Display the panel; the images alone where there are no sliders."""
        if has_front_end():
            display(self.box)
            return
        drawn = self._paint(self.angles)
        stream = io.BytesIO()
        self._strip(drawn).save(stream, "PNG")
        display(InlineImage(data=stream.getvalue()))
        readings = [f"{renderer.title}: {_reading(one)}" for renderer, one in zip(self.renderers, drawn, strict=True)]
        sys.stdout.write("\n".join([self._sentence(), *readings, ""]))

    def set(self, **angles: float) -> None:
        """Move sliders: `gaze_pitch`, `gaze_yaw`, `head_pitch`, `head_yaw`, degrees; they stop at their ends."""
        with self._hold():
            for name, value in angles.items():
                slider = self.sliders[name]
                slider.value = int(min(max(round(value), slider.min), slider.max))
        self._ask()

    def save_sweep(self, sweep: str = "gaze-circle", frames: int = FRAMES) -> list[Path]:
        """Write an animation of the person with every model beside the source.

        Args:
            sweep: One of `SWEEPS`.
            frames: How many.

        Returns:
            The GIF, and an MP4 where ffmpeg is found.
        """
        strips = []
        for count, angles in enumerate(sweep_angles(sweep, self.angles, self.limits, frames), 1):
            strips.append(self._strip(self._paint(angles)))
            self.told.value = f"Drawing {count} of {frames} ..."
        models = "_".join(renderer.name for renderer in self.renderers)
        name = f"{Path(self.person.value).stem}_image{self.frame.value}_{sweep}_{models}.gif"
        written = write_animation(strips, self.folder / name)
        self.movie.value = written[0].read_bytes()
        self.movie.layout.display = ""
        self.movie.layout.width = f"{strips[0].width}px"  # else as wide as the cell
        self.told.value = html.escape(f"Written: {', '.join(map(str, written))}")
        return written

    def _make_inputs(self) -> None:
        wide = widgets.Layout(width="420px", max_width="98%")
        named_ = {"description_width": "90px"}
        self.person = widgets.Dropdown(
            options=list(self.people.names.items()), description="Person", style=named_, layout=wide
        )
        self.frame = widgets.Dropdown(options=[("0", 0)], description="Image", style=named_, layout=wide)
        self.sliders = {
            field.name: widgets.IntSlider(
                min=self.limits[field.name][0],
                max=self.limits[field.name][1],
                value=min(max(0, self.limits[field.name][0]), self.limits[field.name][1]),
                description=field.name.replace("_", " ").capitalize(),
                readout_format="+d",
                style=named_,
                layout=wide,
            )
            for field in fields(Angles)
        }
        for name, slider in self.sliders.items():
            _set_tip(slider, _TIPS[name])
        self.reset = widgets.Button(description="As in the image", icon="undo", tooltip="Angles of the chosen image")
        options = [(sweep.replace("-", " "), sweep) for sweep in SWEEPS]
        self.sweep = widgets.Dropdown(options=options, description="Sweep", style=named_, layout=wide)
        self.write = widgets.Button(
            description="Write GIF",
            icon="film",
            tooltip="Draw the sweep and write it as GIF, and MP4 where ffmpeg is found",
        )

    def _make_outputs(self) -> None:
        self.source = _image_box()
        self.images = [_image_box() for _ in self.renderers]
        self.captions = [widgets.HTML() for _ in self.renderers]
        titles = [widgets.HTML(html.escape(title)) for title in ("source", *(one.title for one in self.renderers))]
        columns = [*titles, self.source, *self.images, widgets.HTML(), *self.captions]
        self.status = widgets.HTML()
        self.told = widgets.HTML()
        self.movie = widgets.Image(format="gif", layout=widgets.Layout(display="none", max_width="100%"))
        moving = list(self.sliders.values())
        self.box = widgets.VBox(
            [
                _row([self.person, self.frame]),
                _row([_stack(moving[:2]), _stack(moving[2:])]),
                self.reset,
                widgets.GridBox(columns, layout=_columns(len(titles))),
                self.status,
                _row([self.sweep, self.write]),
                self.told,
                self.movie,
            ],
            layout=widgets.Layout(overflow=NO_BARS),
        )

    def _choose_person(self) -> None:
        """Offer the person's images and begin with the most frontal one."""
        with self._hold():
            frames = self.people.frames(self.person.value, self.renderers[0].size)
            self.frame.options = [(text, row) for row, text in enumerate(frames)]
            self.frame.value = self.people.most_frontal(self.person.value, self.renderers[0].size)
        self._choose_frame()

    def _choose_frame(self) -> None:
        """Take the angles of the chosen image."""
        if self._running:
            return
        batch = self.people.batch(self.person.value, self.frame.value, self.renderers[0].size)
        self.source.value = encode_png(to_pixels(batch.image[0]))
        self.set(**asdict(Angles.of(batch.parameters)))

    def _ask(self) -> None:
        if not self._running:
            self._redraw.ask()

    def _show_errors(self, act: Callable[[], None]) -> None:
        """Do something; what cannot be read (a file that has gone, say) is told, and the panel stays usable."""
        try:
            act()
        except UserError as error:
            self.status.value = html.escape(f"error: {error}")

    def _draw(self) -> None:
        """Draw what the sliders say now."""
        started = time.perf_counter()
        rendered = self._paint(self.angles)
        for drawn, image, caption in zip(rendered, self.images, self.captions, strict=True):
            image.value = drawn.png
            caption.value = _reading(drawn)
        milliseconds = 1000 * (time.perf_counter() - started)
        self.status.value = f'<span role="status">{self._sentence()} Drawn in {milliseconds:.0f} ms.</span>'

    def _paint(self, angles: Angles) -> list[Drawn]:
        return [renderer.draw(self.person.value, self.frame.value, angles) for renderer in self.renderers]

    def _strip(self, drawn: Sequence[Drawn]) -> Image.Image:
        """The source and what the models drew, as one image."""
        batch = self.people.batch(self.person.value, self.frame.value, self.renderers[0].size)
        images = [to_pixels(batch.image[0]), *(one.pixels for one in drawn)]
        return side_by_side(images, ["source", *short_labels([renderer.title for renderer in self.renderers])])

    def _sentence(self) -> str:
        """Present angles in words."""
        angles = self.angles
        return (
            f"Asked: gaze pitch {signed_degrees(angles.gaze_pitch)}, yaw {signed_degrees(angles.gaze_yaw)}; "
            f"head pitch {signed_degrees(angles.head_pitch)}, yaw {signed_degrees(angles.head_yaw)}."
        )

    def _write(self) -> None:
        """Write the chosen sweep; meanwhile the button waits."""
        self.write.disabled = True
        try:
            self.save_sweep(self.sweep.value)
        except (UserError, OSError) as error:
            self.told.value = html.escape(f"error: {error}")
        finally:
            self.write.disabled = False

    @contextmanager
    def _hold(self) -> Iterator[None]:
        """Set several widgets without drawing after each."""
        before = self._running
        self._running = True
        try:
            yield
        finally:
            self._running = before


def _columns(count: int) -> widgets.Layout:
    """Titles, images and captions in a row each: images shrink rather than go below each other, long titles are broken."""
    template = f"repeat({count}, minmax(0, {SHOWN_WIDTH}))"
    return widgets.Layout(grid_template_columns=template, grid_gap="0 8px", align_items="flex-end", overflow=NO_BARS)


def _row(children: Sequence[widgets.Widget]) -> widgets.HBox:
    """Widgets beside each other, or below where the cell is too narrow."""
    return widgets.HBox(children, layout=widgets.Layout(flex_flow="row wrap", overflow=NO_BARS))


def _stack(children: Sequence[widgets.Widget]) -> widgets.VBox:
    return widgets.VBox(children, layout=widgets.Layout(max_width="100%", overflow=NO_BARS))


def _image_box() -> widgets.Image:
    return widgets.Image(format="png", layout=widgets.Layout(width="100%", margin="0"))


def _reading(drawn: Drawn) -> str:
    """What the judge sees, in words."""
    if drawn.reading is None:
        return "No judge knows such images."
    pitch, yaw = drawn.reading
    return f"The judge reads gaze pitch {signed_degrees(pitch)}, yaw {signed_degrees(yaw)}."


class Coalesced:
    """Calls a function once for all requests of a short while.

    Args:
        act: What to do; it reads what is wanted when it is called, so that the last request wins.
        delay: Seconds to wait for further requests; 0 acts within the request. Without an event loop there is nothing
            to wait in, so it then acts at once, too.
    """

    def __init__(self, act: Callable[[], None], delay: float) -> None:
        self._act = act
        self._delay = delay
        self._timer: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        """Request; those of the next `delay` seconds join it."""
        if self._timer is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None or not self._delay:
            self._act()
        else:
            self._timer = loop.call_later(self._delay, self._go)

    def _go(self) -> None:
        self._timer = None
        self._act()


def _set_tip(slider: widgets.IntSlider, tip: str) -> None:
    """Say what a slider does when the mouse rests on it; ipywidgets 7, which Colab has, shows the description instead."""
    if slider.has_trait("tooltip"):
        slider.tooltip = tip
    else:
        slider.description_tooltip = tip
