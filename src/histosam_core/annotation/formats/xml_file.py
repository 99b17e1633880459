"""XML in and out; documents that declare a DTD or entities are refused."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from histosam_core.atomic import new_file
from histosam_core.errors import AnnotationError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from histosam_core.annotation.regions import Color

__all__ = ["coordinate", "hex_color", "number_text", "parse_xml", "write_xml"]


def parse_xml(path: str | os.PathLike[str]) -> Element:
    """Read an XML file and return its root; AnnotationError where that is not possible."""
    path = Path(path)
    try:
        root = defusedxml.ElementTree.parse(path, forbid_dtd=True).getroot()
    except DefusedXmlException as error:
        raise AnnotationError(
            f"{path} declares a DTD or entities, which annotation files never need; "
            "export it again, or delete that declaration"
        ) from error
    except (ElementTree.ParseError, UnicodeError, ValueError) as error:
        raise AnnotationError(
            f"{path} is not well-formed XML ({error}); export the annotation again"
        ) from error
    except OSError as error:
        raise AnnotationError(f"cannot read {path}: {error.strerror}") from error
    if root is None:
        raise AnnotationError(f"{path} holds no XML element; export the annotation again")
    return root


def write_xml(path: str | os.PathLike[str], root: Element) -> Path:
    """Write `root`, indented, with an XML declaration; return the path."""
    ElementTree.indent(root, space="\t")
    with new_file(path) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)
    return Path(path)


def coordinate(element: Element, name: str, path: Path) -> float:
    """Read one coordinate attribute; AnnotationError where it is not a finite number."""
    text = element.get(name)
    try:
        value = float((text or "").replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AnnotationError(
            f"{path}: a <{element.tag}> has {name}={text!r}, not a number; export it again"
        )
    return value


def number_text(value: float) -> str:
    """Shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) else repr(float(value))


def hex_color(text: str | None) -> Color | None:
    """Read ``#RRGGBB``; None for anything else."""
    digits = (text or "").strip().lstrip("#")
    try:
        value = int(digits, 16)
    except ValueError:
        return None
    return (value >> 16 & 255, value >> 8 & 255, value & 255) if len(digits) == 6 else None
