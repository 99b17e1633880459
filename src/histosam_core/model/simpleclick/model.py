"""`SimpleClickModel`: SimpleClick's networks (Liu et al. 2023) as an interactive model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histosam_core.model.ritm.model import RitmModel
from histosam_core.model.ritm.zoom_in import ZoomIn

if TYPE_CHECKING:
    import torch
    from torch import nn

    from histosam_core.model.interface import ModelInfo

__all__ = ["SIMPLECLICK_ZOOM_IN", "SimpleClickModel"]

SIMPLECLICK_ZOOM_IN = ZoomIn(skip_clicks=-1, target_size=(448, 448))


class SimpleClickModel(RitmModel):
    """An `InteractiveModel` over a network of SimpleClick's.

    It answers as SimpleClick's evaluation does, which is RITM's but for the zoom: from the first
    click on, the network sees a square of the size that it was trained at.

    Parameters
    ----------
    net, flip, zoom_in, max_net_clicks, device, info, fold
        As for `RitmModel`.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        flip: bool = True,
        zoom_in: ZoomIn | None = SIMPLECLICK_ZOOM_IN,
        max_net_clicks: int | None = None,
        device: str | torch.device = "auto",
        info: ModelInfo | None = None,
        fold: bool = True,
    ) -> None:
        super().__init__(
            net,
            flip=flip,
            zoom_in=zoom_in,
            max_net_clicks=max_net_clicks,
            device=device,
            info=info,
            fold=fold,
        )
