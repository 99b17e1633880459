"""Scale and origin from what files state: Aperio text, OME XML, TIFF tags, OpenSlide properties."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from histosam_core.errors import SlideFormatError
from histosam_core.slide.readers import NOT_STATED, SlideMetadata

MPP_RANGE = (0.05, 20.0)
"""Micrometres per pixel that a slide can have; what lies outside is a default or a slip."""

_UM_PER = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
_UM_PER_RESOLUTION_UNIT = {2: 25400.0, 3: 10000.0}


def believable_mpp(
    x: float | None, y: float | None, source: str
) -> tuple[tuple[float, float] | None, str]:
    """Keep an mpp within `MPP_RANGE`.

    Returns
    -------
    mpp_xy, source
        None, and the reason in the source, where it is not stated or outside.
    """
    if x is None or y is None:
        return None, NOT_STATED
    low, high = MPP_RANGE
    if all(math.isfinite(v) and low <= v <= high for v in (x, y)):
        return (x, y), source
    return None, f"{source}: {x:.4g} x {y:.4g} um per pixel is outside {low} to {high:g}, ignored"


def aperio_metadata(description: str) -> SlideMetadata:
    """Read an Aperio ImageDescription: ``... |AppMag = 20|MPP = 0.4990|ScanScope ID = ...``."""
    parts = (part.partition("=") for part in description.split("|")[1:] if "=" in part)
    fields = {key.strip(): value.strip() for key, _, value in parts}
    mpp = _number(fields.get("MPP"))
    mpp_xy, source = believable_mpp(mpp, mpp, "Aperio description")
    name = description.partition("Image Library")[0].strip()
    name = name if 0 < len(name) < 40 else "Aperio"
    return SlideMetadata(
        mpp_xy=mpp_xy,
        mpp_source=source,
        magnification=_positive(fields.get("AppMag")),
        scanner=f"{name} {fields.get('ScanScope ID', '')}".strip(),
        properties={f"aperio.{key}": value for key, value in fields.items()},
    )


def ome_metadata(xml: str) -> SlideMetadata:
    """Read physical pixel size, objective and microscope from an OME-XML document.

    Raises
    ------
    SlideFormatError
        The XML is malformed, or declares entities (refused).
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException, ElementTree

    try:
        root = ElementTree.fromstring(xml)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise SlideFormatError(
            f"the OME-XML header cannot be read ({error}); export the image again"
        ) from error
    found: dict[str, Mapping[str, str]] = {}
    for tag in ("Pixels", "Objective", "Microscope"):
        element = root.find(f".//{{*}}{tag}")
        found[tag] = {} if element is None else element.attrib
    pixels, objective, microscope = found.values()

    def size(axis: str) -> float | None:
        value = _number(pixels.get(f"PhysicalSize{axis}"))
        unit = _UM_PER.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        return None if value is None or unit is None else value * unit

    mpp_xy, source = believable_mpp(size("X"), size("Y"), "OME-XML PhysicalSize")
    names = (microscope.get("Manufacturer", ""), microscope.get("Model", ""))
    return SlideMetadata(
        mpp_xy=mpp_xy,
        mpp_source=source,
        magnification=_positive(
            objective.get("NominalMagnification") or objective.get("CalibratedMagnification")
        ),
        scanner=" ".join(filter(None, names)) or root.attrib.get("Creator", ""),
        properties={f"ome.{tag}.{k}": v for tag, tags in found.items() for k, v in tags.items()},
    )


def resolution_metadata(
    resolution_xy: tuple[float, float], unit: int, source: str = "TIFF resolution tags"
) -> SlideMetadata:
    """Turn pixels per unit into an mpp; `unit` as in TIFF: 2 inch, 3 centimetre, 1 none."""
    um = _UM_PER_RESOLUTION_UNIT.get(unit)
    if um is None or not all(math.isfinite(r) and r > 0 for r in resolution_xy):
        return SlideMetadata()
    mpp_xy, source = believable_mpp(um / resolution_xy[0], um / resolution_xy[1], source)
    return SlideMetadata(mpp_xy=mpp_xy, mpp_source=source)


def openslide_metadata(properties: Mapping[str, str]) -> SlideMetadata:
    """Read OpenSlide's normalised properties."""
    x, y = (_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
    mpp_xy, source = believable_mpp(x, y, "OpenSlide properties")
    names = properties.get("openslide.vendor", ""), properties.get("tiff.Model", "")
    return SlideMetadata(
        mpp_xy=mpp_xy,
        mpp_source=source,
        magnification=_positive(properties.get("openslide.objective-power")),
        scanner=" ".join(filter(None, names)),
        properties=dict(properties),
    )


def merge_metadata(first: SlideMetadata, second: SlideMetadata) -> SlideMetadata:
    """Take each entry from `first` where it has one, else from `second`."""
    first_gives_reason = second.mpp_xy is None and first.mpp_source != NOT_STATED
    source = first if first.mpp_xy is not None or first_gives_reason else second
    return SlideMetadata(
        mpp_xy=source.mpp_xy,
        mpp_source=source.mpp_source,
        magnification=first.magnification or second.magnification,
        scanner=first.scanner or second.scanner,
        properties={**second.properties, **first.properties},
    )


def _number(text: Any) -> float | None:
    try:
        value = float(str(text).strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _positive(text: Any) -> float | None:
    value = _number(str(text).lower().removesuffix("x"))
    return value if value is not None and value > 0 else None
