"""A session: clicks on a slide become objects, through windows, embeddings and a canvas."""

from __future__ import annotations

from histosam_core.embeddings.disk import DiskStore
from histosam_core.embeddings.key import EmbeddingKey
from histosam_core.embeddings.memory import EmbeddingStore, MemoryStore
from histosam_core.embeddings.tiered import TieredStore
from histosam_core.session.answers import ClickResult
from histosam_core.session.canvas.canvas import Canvas, CanvasSnapshot, Tile
from histosam_core.session.journal import read_journal
from histosam_core.session.journal.fold import RestoredState, fold
from histosam_core.session.journal.replay import ReplayedObject, ReplayReport, find_slide, replay
from histosam_core.session.objects import CLASS_COLORS, AcceptedObject
from histosam_core.session.overlap import OverlapRule
from histosam_core.session.preview import draw_preview, save_preview
from histosam_core.session.prompt_text import parse_click, read_click_list
from histosam_core.session.session import Session
from histosam_core.session.windows.predictor import Predictor, RegionAnswer, Timings
from histosam_core.session.windows.scale import SlideScale, slide_scale
from histosam_core.session.windows.windows import Window, WindowGrid, check_on_slide

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
