"""Scale and origin as files state them."""

from __future__ import annotations

import pytest

from histosam_core.errors import SlideFormatError
from histosam_core.slide.metadata import (
    aperio_metadata,
    believable_mpp,
    merge_metadata,
    ome_metadata,
    openslide_metadata,
    resolution_metadata,
)

APERIO = (
    "Aperio Image Library v11.2.1 \r\n46000x32914 [0,100 46000x32914] (240x240) JPEG/RGB Q=30"
    "|AppMag = 20|StripeWidth = 2040|ScanScope ID = CPAPERIOCS|MPP = 0.4990"
)


def test_aperio_text_gives_mpp_magnification_and_scanner() -> None:
    found = aperio_metadata(APERIO)
    assert found.mpp_xy == (0.499, 0.499)
    assert found.magnification == 20
    assert found.scanner == "Aperio CPAPERIOCS"
    assert found.properties["aperio.StripeWidth"] == "2040"


@pytest.mark.parametrize("text", ["", "Aperio", "Aperio x|AppMag = ?|MPP = none", "|||= |a"])
def test_aperio_text_without_numbers_gives_none(text: str) -> None:
    found = aperio_metadata(text)
    assert (found.mpp_xy, found.magnification) == (None, None)


@pytest.mark.parametrize("mpp", [0.0, 0.049, 20.1, 352.8, -0.5, float("nan"), float("inf")])
def test_unbelievable_mpp_is_ignored_and_said(mpp: float) -> None:
    found, source = believable_mpp(mpp, mpp, "some tag")
    assert found is None
    assert "some tag" in source
    assert "ignored" in source


@pytest.mark.parametrize("mpp", [0.05, 0.25, 20.0])
def test_believable_mpp_is_kept(mpp: float) -> None:
    assert believable_mpp(mpp, mpp, "some tag") == ((mpp, mpp), "some tag")


def test_resolution_tags_in_inch_and_centimetre() -> None:
    assert resolution_metadata((20000, 10000), 3).mpp_xy == (0.5, 1.0)
    assert resolution_metadata((50800, 50800), 2).mpp_xy == (0.5, 0.5)
    assert resolution_metadata((20000, 20000), 1).mpp_xy is None
    assert resolution_metadata((0, 0), 3).mpp_xy is None
    assert resolution_metadata((72, 72), 2).mpp_xy is None


def ome(pixels: str, rest: str = "") -> str:
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'{rest}<Image ID="Image:0"><Pixels {pixels}/></Image></OME>'
    )


def test_ome_units_are_converted() -> None:
    found = ome_metadata(
        ome(
            'PhysicalSizeX="500" PhysicalSizeXUnit="nm" PhysicalSizeY="0.0005" '
            'PhysicalSizeYUnit="mm"',
            '<Instrument><Microscope Manufacturer="Maker" Model="M1"/>'
            '<Objective NominalMagnification="20.0"/></Instrument>',
        )
    )
    assert found.mpp_xy == pytest.approx((0.5, 0.5))
    assert found.magnification == 20
    assert found.scanner == "Maker M1"


def test_ome_without_unit_means_micrometres_and_pixels_mean_nothing() -> None:
    assert ome_metadata(ome('PhysicalSizeX="0.3" PhysicalSizeY="0.4"')).mpp_xy == (0.3, 0.4)
    unknown = 'PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1"'
    assert ome_metadata(ome(unknown)).mpp_xy is None


def test_broken_or_hostile_xml_is_refused() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]><OME>&a;</OME>'
    for text in ("<OME><Image>", bomb):
        with pytest.raises(SlideFormatError, match="OME-XML"):
            ome_metadata(text)


def test_openslide_properties() -> None:
    found = openslide_metadata(
        {
            "openslide.mpp-x": "0.23",
            "openslide.mpp-y": "0.24",
            "openslide.objective-power": "40",
            "openslide.vendor": "mirax",
        }
    )
    assert found.mpp_xy == (0.23, 0.24)
    assert found.magnification == 40
    assert found.scanner == "mirax"
    assert openslide_metadata({}).mpp_xy is None


def test_merging_prefers_the_first_and_keeps_the_reason() -> None:
    stated, nonsense = aperio_metadata(APERIO), resolution_metadata((72, 72), 2)
    silent = aperio_metadata("")
    assert merge_metadata(stated, nonsense).mpp_source == "Aperio description"
    assert "ignored" in merge_metadata(silent, nonsense).mpp_source
    assert "ignored" in merge_metadata(nonsense, silent).mpp_source
    assert merge_metadata(silent, resolution_metadata((20000, 20000), 3)).mpp_xy == (0.5, 0.5)
