"""The models known by name: where their weights are, under which licence, and what they are.

The hashes of SAM are those that its authors state; those with xxh128 are micro-sam's registry's.
RITM, FocalClick, SimpleClick and MedSAM publish none.
"""

from __future__ import annotations

from collections.abc import Mapping

from histosam_core.model.registry.digest import Digest
from histosam_core.model.registry.model_spec import ModelSpec

__all__ = ["BUNDLED", "MODELS", "SPECS"]

BUNDLED = "histosam-tiny"

META = "https://dl.fbaipublicfiles.com/segment_anything"
GWDG = "https://owncloud.gwdg.de/index.php/s"
RITM = "https://github.com/saic-vul/ritm_interactive_segmentation/releases/download/v1.0"
FOCALCLICK = "https://drive.google.com/drive/folders/1XzUlpPqbzAyMt009HVpEeW31ln1FeXfX"
SIMPLECLICK = "https://drive.google.com/drive/folders/1qpK0gtAPkVMF7VC42UA9XF4xMWr5KJmL"

SEGFORMER_LICENCE = "NVIDIA Source Code License for SegFormer"
SEGFORMER_TERMS = (
    f"its SegFormer encoder comes under the {SEGFORMER_LICENCE}, which allows research and "
    "evaluation only, no commercial use; that holds for whatever is trained from it too"
)

SAM_PAPER = "Kirillov et al., Segment Anything, ICCV 2023, arXiv:2304.02643"
MOBILE_SAM_PAPER = (
    "Zhang et al., Faster Segment Anything: Towards Lightweight SAM for Mobile Applications, 2023, "
    "arXiv:2306.14289"
)
PATHOSAM_PAPER = (
    "Griebel, Archit, Pape, Segment Anything for Histopathology, MIDL 2025, arXiv:2502.00408"
)
MEDICOSAM_PAPER = (
    "Archit, Freckmann, Pape, MedicoSAM: Towards foundation models for medical image segmentation, "
    "2025, arXiv:2501.11734"
)
MEDSAM_PAPER = "Ma et al., Segment Anything in Medical Images, 2023, arXiv:2304.12306"
RITM_PAPER = (
    "Sofiiuk, Petrov, Konushin, Reviving Iterative Training with Mask Guidance for Interactive "
    "Segmentation, ICIP 2022, arXiv:2102.06583"
)
FOCALCLICK_PAPER = (
    "Chen et al., FocalClick: Towards Practical Interactive Image Segmentation, CVPR 2022, "
    "arXiv:2204.02574"
)
SIMPLECLICK_PAPER = (
    "Liu, Xu, Bertasius, Niethammer, SimpleClick: Interactive Image Segmentation with Simple "
    "Vision Transformers, ICCV 2023"
)


def _sam(
    name: str,
    file_name: str,
    sha256: str,
    size_bytes: int | None,
    *,
    url: str | None = None,
    citation: str = SAM_PAPER,
) -> ModelSpec:
    """SAM as published: a network on natural images."""
    return ModelSpec(
        name=name,
        family="sam",
        architecture=name,
        decoders=("sam",),
        file_name=file_name,
        about="natural images (SA-1B)",
        licence="Apache-2.0",
        code_licence="Apache-2.0",
        citation=citation,
        url=url or f"{META}/{file_name}",
        digest=Digest("sha256", sha256),
        size_bytes=size_bytes,
        takes_boxes=True,
        encodes_ahead=True,
    )


def _gwdg(name: str, key: str, xxh128: str, about: str, citation: str) -> ModelSpec:
    """SAM, trained on by the University of Goettingen. Its licence is stated for the code alone."""
    return ModelSpec(
        name=name,
        family="sam",
        architecture=f"sam_{name.partition('_')[2]}",
        decoders=("sam",),
        file_name=f"{name}.pt",
        about=about,
        code_licence="MIT",
        citation=citation,
        url=f"{GWDG}/{key}/download",
        digest=Digest("xxh128", xxh128),
        takes_boxes=True,
        encodes_ahead=True,
    )


def _ritm(name: str, architecture: str, file_name: str, about: str, mib: float) -> ModelSpec:
    return ModelSpec(
        name=name,
        family="ritm",
        architecture=f"ritm_{architecture}",
        file_name=file_name,
        about=about,
        licence="MIT",
        code_licence="MIT",
        citation=RITM_PAPER,
        url=f"{RITM}/{file_name}",
        size_bytes=round(mib * 2**20),
    )


def _focalclick(name: str, architecture: str, title: str, mib: float) -> ModelSpec:
    is_segformer = architecture.startswith("segformer")
    apache = "Apache-2.0 (its README: MIT)"
    return ModelSpec(
        name=name,
        family="focalclick",
        architecture=f"focalclick_{architecture}",
        file_name=f"{name}.pth",
        about="natural images (COCO + LVIS)",
        licence=f"non-commercial ({SEGFORMER_LICENCE})" if is_segformer else apache,
        code_licence=apache,
        citation=FOCALCLICK_PAPER,
        page=FOCALCLICK,
        page_item=f"{title} of COCO+LVIS ({mib:g} MB)",
        size_bytes=round(mib * 2**20),
        terms=SEGFORMER_TERMS if is_segformer else "",
        terms_url="https://github.com/NVlabs/SegFormer/blob/master/LICENSE" if is_segformer else "",
    )


def _simpleclick(name: str, architecture: str, file_name: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        family="simpleclick",
        architecture=f"simpleclick_{architecture}",
        file_name=file_name,
        about="natural images (COCO + LVIS)",
        licence="MIT",
        code_licence="MIT",
        citation=SIMPLECLICK_PAPER,
        page=SIMPLECLICK,
        page_item=file_name,
    )


SPECS = (
    ModelSpec(
        name=BUNDLED,
        family="histosam",
        architecture="histosam_tiny",
        decoders=("refining", "sam"),
        file_name=f"{BUNDLED}.safetensors",
        about="generic synthetic images; small, for machines without a GPU",
        licence="BSD-3-Clause",
        code_licence="BSD-3-Clause",
        citation="this program",
        encodes_ahead=True,
    ),
    _sam(
        "sam_vit_b",
        "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
    ),
    _sam(
        "sam_vit_l",
        "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
    ),
    _sam(
        "sam_vit_h",
        "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
    ),
    _sam(
        "mobile_sam",
        "mobile_sam.pt",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        None,
        url="https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
        citation=MOBILE_SAM_PAPER,
    ),
    _gwdg(
        "pathosam_vit_b",
        "sBB4H8CTmIoBZsQ",
        "ffd1a2cd84570458b257bd95fdd8f974",
        "nuclei in H&E",
        PATHOSAM_PAPER,
    ),
    _gwdg(
        "pathosam_vit_l",
        "IZgnn1cpBq2PHod",
        "b591833c89754271023e901281dee3f2",
        "nuclei in H&E",
        PATHOSAM_PAPER,
    ),
    _gwdg(
        "pathosam_vit_h",
        "L7AcvVz7DoWJ2RZ",
        "bd1856dafc156a43fb3aa705f1a6e92e",
        "nuclei in H&E",
        PATHOSAM_PAPER,
    ),
    _gwdg(
        "medicosam_vit_b",
        "f5Ol4FrjPQWfjUF",
        "40169f1e3c03a4b67bff58249c176d92",
        "medical images",
        MEDICOSAM_PAPER,
    ),
    ModelSpec(
        name="medsam_vit_b",
        family="sam",
        architecture="sam_vit_b",
        decoders=("sam",),
        file_name="medsam_vit_b.pth",
        about="medical images, with boxes as prompts",
        code_licence="Apache-2.0",
        citation=MEDSAM_PAPER,
        page="https://github.com/bowang-lab/MedSAM",
        page_item="medsam_vit_b.pth, which its README links to",
        takes_boxes=True,
        encodes_ahead=True,
    ),
    _ritm(
        "ritm_h18s",
        "hrnet18s_itm",
        "coco_lvis_h18s_itermask.pth",
        "natural images (COCO + LVIS)",
        16.5,
    ),
    _ritm(
        "ritm_h18",
        "hrnet18_itm",
        "coco_lvis_h18_itermask.pth",
        "natural images (COCO + LVIS)",
        38.8,
    ),
    _ritm(
        "ritm_h32",
        "hrnet32_itm",
        "coco_lvis_h32_itermask.pth",
        "natural images (COCO + LVIS)",
        119,
    ),
    _ritm("ritm_h18_sbd", "hrnet18_itm", "sbd_h18_itermask.pth", "natural images (SBD)", 38.8),
    _focalclick("focalclick_h18s_s1", "hrnet18s_S1", "HRNet18s-S1", 16.58),
    _focalclick("focalclick_h18s_s2", "hrnet18s_S2", "HRNet18s-S2", 16.58),
    _focalclick("focalclick_h32_s2", "hrnet32_S2", "HRNet32-S2", 119.11),
    _focalclick("focalclick_b0_s1", "segformerB0_S1", "SegFormerB0-S1", 14.38),
    _focalclick("focalclick_b0_s2", "segformerB0_S2", "SegFormerB0-S2", 14.38),
    _focalclick("focalclick_b3_s2", "segformerB3_S2", "SegFormerB3-S2", 174.56),
    _simpleclick("simpleclick_vit_b", "vitb448", "cocolvis_vit_base.pth"),
    _simpleclick("simpleclick_vit_l", "vitl448", "cocolvis_vit_large.pth"),
    _simpleclick("simpleclick_vit_h", "vith448", "cocolvis_vit_huge.pth"),
)
"""All of them, the bundled one first."""

MODELS: Mapping[str, ModelSpec] = {spec.name: spec for spec in SPECS}
"""The same by name."""
