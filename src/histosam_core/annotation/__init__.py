"""Annotations: regions in level-0 pixels, their files, and masks drawn from them."""

from __future__ import annotations

from histosam_core.annotation.annotation import Annotation, PolygonAnnotation
from histosam_core.annotation.files import find_annotation, read_annotations
from histosam_core.annotation.formats.asap_xml import read_asap_xml, write_asap_xml
from histosam_core.annotation.formats.geojson import feature_of, read_geojson, write_geojson
from histosam_core.annotation.formats.imagescope_xml import (
    read_imagescope_xml,
    write_imagescope_xml,
)
from histosam_core.annotation.formats.label_zarr import write_label_zarr
from histosam_core.annotation.formats.label_zarr_reader import read_label_zarr
from histosam_core.annotation.formats.mask_tiff import (
    MaskAnnotation,
    read_mask_tiff,
    write_mask_tiff,
)
from histosam_core.annotation.outlines import mask_to_geometry
from histosam_core.annotation.rasterise import rasterise
from histosam_core.annotation.regions import AnnotatedRegion

__all__ = [
    "AnnotatedRegion",
    "Annotation",
    "MaskAnnotation",
    "PolygonAnnotation",
    "feature_of",
    "find_annotation",
    "mask_to_geometry",
    "rasterise",
    "read_annotations",
    "read_asap_xml",
    "read_geojson",
    "read_imagescope_xml",
    "read_label_zarr",
    "read_mask_tiff",
    "write_asap_xml",
    "write_geojson",
    "write_imagescope_xml",
    "write_label_zarr",
    "write_mask_tiff",
]
