"""What has been outlined in a viewer, made ready to learn from. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.errors import EmptyMaskError
from napari_histosam.reader import tag_of_slide
from napari_histosam.viewer.layers import OBJECTS, tag_of

if TYPE_CHECKING:
    from napari_histosam.writer import AnnotationSource


@dataclass(frozen=True, slots=True)
class Accepted:
    """The objects accepted on one slide."""

    slide: Path | None
    """The slide's file; None where the image is no file, which cannot be learnt from."""
    source: AnnotationSource
    """Gives the objects."""

    @property
    def n_objects(self) -> int:
        """How many there are."""
        return len(self.source.regions())


def accepted_in(viewer: Any) -> list[Accepted]:
    """Return what is accepted in a viewer's open sessions, slides without an object left out."""
    files = {path.name: path for path in map(_file_of, viewer.layers) if path is not None}
    found = []
    for layer in viewer.layers:
        tag = tag_of(layer)
        if tag is not None and tag.role == OBJECTS and tag.source is not None:
            accepted = Accepted(files.get(tag.source.slide_name), tag.source)
            if accepted.n_objects:
                found.append(accepted)
    return found


def write_accepted(accepted: Sequence[Accepted], folder: Path) -> list[tuple[Path, Path]]:
    """Write accepted objects as GeoJSON, a file a slide; return the slides and their files.

    Raises
    ------
    EmptyMaskError
        There is no object on a slide that is a file.
    OutputWriteError
        The folder cannot be written.
    """
    from histosam_core.annotation import write_geojson

    usable = [(one.slide, one.source) for one in accepted if one.slide is not None]
    if not usable:
        raise EmptyMaskError(
            "no object is accepted on a slide from a file; save the image as a file and outline "
            "on that"
        )
    written = []
    for number, (slide, source) in enumerate(usable, start=1):
        path = folder / f"{number}-{slide.stem}.geojson"
        write_geojson(path, source.regions())
        written.append((slide, path))
    return written


def _file_of(layer: Any) -> Path | None:
    """The file behind an image layer."""
    tag = tag_of_slide(layer)
    path = tag.slide.path if tag is not None else layer.source.path
    return Path(path).absolute() if path is not None and Path(path).is_file() else None
