"""Accepted objects to files and back; on the session's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histosam_core.errors import AnnotationError, EmptyMaskError, OutputExistsError
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from pathlib import Path

    from histosam_core.session import Session


def read_objects(path: Path, session: Session) -> str:
    """Add the objects of an annotation file of any format; return what was done, in words.

    Raises
    ------
    AnnotationError
        The file cannot be read, is of another slide, or outlines nothing.
    """
    from histosam_core.annotation import read_annotations

    slide = session.slide
    regions = read_annotations(path).fitted(slide.size_wh, slide.path.name).regions
    if not regions:
        raise AnnotationError(f"{path} outlines nothing; give a file with polygons")
    session.add_objects(regions)
    return f"{_objects(len(regions))} read from {path.name}"


def write_objects(path: Path, session: Session, progress: ProgressCallback = silent) -> str:
    """Write the accepted objects; return what was done, in words.

    Parameters
    ----------
    path
        OME-Zarr labels where it ends in ".zarr", else GeoJSON.
    session
        Whose objects; the current one is not among them.
    progress
        Told how far it has come.

    Raises
    ------
    EmptyMaskError
        Nothing has been accepted.
    OutputExistsError, OutputWriteError
        The folder exists, or the file cannot be written.
    """
    from histosam_core.annotation import write_label_zarr

    if not session.objects:
        raise EmptyMaskError("no object has been accepted; accept one (C), then export")
    if path.suffix.lower() == ".zarr":
        try:
            write_label_zarr(
                path,
                [accepted.region for accepted in session.objects],
                slide_wh=session.slide.size_wh,
                slide_mpp=session.slide_mpp,
                slide_name=session.slide.path.name,
                progress=progress,
            )
        except OutputExistsError as error:
            raise OutputExistsError(f"{path} exists; choose another name") from error
    else:
        session.save_geojson(path)
    message = f"{_objects(len(session.objects))} written to {path.name}"
    if session.prompts or session.canvas_snapshot:
        message += "; the current object is not in it: accept it (C) and export again"
    return message


def _objects(count: int) -> str:
    return f"{count} object{'s' * (count != 1)}"
