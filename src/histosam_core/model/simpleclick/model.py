"""`SimpleClickModel`: SimpleClick's networks (Liu et al. 2023) as an interactive model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from histosam_core.model.ritm.model import RitmModel
from histosam_core.model.ritm.zoom_in import ZoomIn

if TYPE_CHECKING:
    from torch import nn

    from histosam_core.model.specialists.click_model import ClickSettings

SIMPLECLICK_ZOOM_IN = ZoomIn(skip_clicks=-1, target_size=(448, 448))


class SimpleClickModel(RitmModel):
    """An `InteractiveModel` over a network of SimpleClick's.

    It answers as SimpleClick's evaluation does, which is RITM's but for the zoom: from the first
    click on, the network sees a square of the size that it was trained at.

    Parameters
    ----------
    net, zoom_in, settings
        As for `RitmModel`.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        zoom_in: ZoomIn | None = SIMPLECLICK_ZOOM_IN,
        **settings: Unpack[ClickSettings],
    ) -> None:
        super().__init__(net, zoom_in=zoom_in, **settings)
