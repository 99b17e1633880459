"""A session: clicks on a slide become objects, through windows, embeddings and a canvas."""

from __future__ import annotations

from histosam_core.embeddings.disk import DiskStore
from histosam_core.embeddings.memory import MemoryStore
from histosam_core.embeddings.tiered import TieredStore
from histosam_core.session.canvas.canvas import Canvas, CanvasSnapshot, Tile
from histosam_core.session.journal import read_journal
from histosam_core.session.journal.fold import fold
from histosam_core.session.journal.replay import ReplayReport, find_slide, replay
from histosam_core.session.objects import AcceptedObject, OverlapRule
from histosam_core.session.outline import ClickResult
from histosam_core.session.preview import draw_preview, save_preview
from histosam_core.session.prompt_text import parse_click, read_click_list
from histosam_core.session.session import Session
from histosam_core.session.windows.predictor import Predictor
from histosam_core.session.windows.scale import slide_scale
from histosam_core.session.windows.windows import WindowGrid, check_on_slide

__all__ = [
    "AcceptedObject",
    "Canvas",
    "CanvasSnapshot",
    "ClickResult",
    "DiskStore",
    "MemoryStore",
    "OverlapRule",
    "Predictor",
    "ReplayReport",
    "Session",
    "TieredStore",
    "Tile",
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
