"""Inference: clicks on a slide become objects, through windows, embeddings and a canvas."""

from __future__ import annotations

from histosam_core.clicks import read_journal
from histosam_core.inference.canvas import Canvas, CanvasSnapshot, Tile
from histosam_core.inference.click_list import parse_click, read_click_list
from histosam_core.inference.disk_store import DiskStore
from histosam_core.inference.embedding_store import EmbeddingKey, EmbeddingStore, MemoryStore
from histosam_core.inference.objects import CLASS_COLORS, AcceptedObject
from histosam_core.inference.overlap import OverlapRule
from histosam_core.inference.predictor import Predictor, RegionAnswer, Timings
from histosam_core.inference.preview import draw_preview, save_preview
from histosam_core.inference.replay import ReplayedObject, ReplayReport, find_slide, replay
from histosam_core.inference.restore import RestoredState, fold
from histosam_core.inference.scale import SlideScale, slide_scale
from histosam_core.inference.session import ClickResult, Session
from histosam_core.inference.tiered_store import TieredStore
from histosam_core.inference.windows import Window, WindowGrid, check_on_slide

__all__ = [
    "CLASS_COLORS",
    "AcceptedObject",
    "Canvas",
    "CanvasSnapshot",
    "ClickResult",
    "DiskStore",
    "EmbeddingKey",
    "EmbeddingStore",
    "MemoryStore",
    "OverlapRule",
    "Predictor",
    "RegionAnswer",
    "ReplayReport",
    "ReplayedObject",
    "RestoredState",
    "Session",
    "SlideScale",
    "TieredStore",
    "Tile",
    "Timings",
    "Window",
    "WindowGrid",
    "check_on_slide",
    "draw_preview",
    "find_slide",
    "fold",
    "parse_click",
    "read_click_list",
    "read_journal",
    "replay",
    "save_preview",
    "slide_scale",
]
