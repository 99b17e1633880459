"""Object-contextual representations (Yuan et al. 2020) on HRNet, for one class of object."""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional

from histosam_core.model.ritm.hrnet import HrNet, conv_norm


class OcrAnswer(NamedTuple):
    """What `HrNetOcr` says, all at a quarter of the input's size.

    Attributes
    ----------
    logits
        (B, 1, H/4, W/4).
    auxiliary
        (B, 1, H/4, W/4): logits straight from the backbone; they weigh the pixels of the context.
    feature
        (B, 2 x OCR width, H/4, W/4): what the logits are read from.
    """

    logits: Tensor
    auxiliary: Tensor
    feature: Tensor


class HrNetOcr(HrNet):
    """HRNet whose pixels also know the mean feature of the object.

    Parameters
    ----------
    width, small
        As for `HrNet`.
    ocr_width
        Channels of the context; features have twice as many.
    """

    def __init__(self, width: int, ocr_width: int, *, small: bool) -> None:
        super().__init__(width, small=small)
        feature_channels = 2 * ocr_width
        self.conv3x3_ocr = nn.Sequential(
            nn.Conv2d(self.channels, feature_channels, 3, padding=1),
            nn.BatchNorm2d(feature_channels),
            nn.ReLU(inplace=True),
        )
        self.ocr_distri_head = _ContextHead(feature_channels, ocr_width)
        self.cls_head = nn.Conv2d(feature_channels, 1, 1)
        self.aux_head = nn.Sequential(
            nn.Conv2d(self.channels, self.channels, 1),
            nn.BatchNorm2d(self.channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(self.channels, 1, 1),
        )

    def forward(self, stem: Tensor, maps: Tensor) -> OcrAnswer:
        """Go on from `stem` with the maps that `features` takes."""
        features = self.features(stem, maps)
        auxiliary = self.aux_head(features)
        features = self.conv3x3_ocr(features)
        weights = auxiliary.flatten(2).softmax(-1)
        mean = (features.flatten(2) @ weights.transpose(1, 2)).unsqueeze(-1)
        feature = self.ocr_distri_head(features, mean)
        return OcrAnswer(self.cls_head(feature), auxiliary, feature)


class _ContextHead(nn.Module):
    """Features and the object's mean feature -> features that know both."""

    def __init__(self, channels: int, context_channels: int) -> None:
        super().__init__()
        self.object_context_block = _ObjectContext(channels, context_channels)
        self.conv_bn_dropout = nn.Sequential(
            *_nested_conv(2 * channels, channels), nn.Dropout2d(0.05)
        )

    def forward(self, features: Tensor, mean: Tensor) -> Tensor:
        context = self.object_context_block(mean, features.shape[-2:])
        # The 1x1 convolution of both together, without laying them side by side: the context is
        # the same everywhere.
        first, *rest = self.conv_bn_dropout
        convolution = cast("nn.Conv2d", first)
        from_context, from_features = convolution.weight.chunk(2, dim=1)
        y = functional.conv2d(features, from_features, convolution.bias)
        y += functional.conv2d(context, from_context)
        for module in rest:
            y = module(y)
        return y


class _ObjectContext(nn.Module):
    """The object's mean feature as a context.

    OCR weighs the objects' contexts at each pixel by a softmax over objects. With one object that
    weight is 1, whatever `f_pixel` and `f_object` say: they are there for the weights' sake only,
    and nothing trains them.
    """

    def __init__(self, channels: int, context_channels: int) -> None:
        super().__init__()
        self.f_pixel = _two_nested_convs(channels, context_channels).requires_grad_(False)
        self.f_object = _two_nested_convs(channels, context_channels).requires_grad_(False)
        self.f_down = nn.Sequential(*_nested_conv(channels, context_channels))
        self.f_up = nn.Sequential(*_nested_conv(context_channels, channels))

    def forward(self, mean: Tensor, size_hw: tuple[int, int]) -> Tensor:
        down = self.f_down(mean)
        if self.training:
            # The batch norm's variance counts every pixel, as in OCR at large.
            down = down.expand(-1, -1, *size_hw)
        context: Tensor = self.f_up(down)
        return context


def _nested_conv(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """A 1x1 convolution, and its batch norm and ReLU in a sequence of their own."""
    convolution, *norm_relu = conv_norm(inputs, outputs, 1)
    return convolution, nn.Sequential(*norm_relu)


def _two_nested_convs(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_nested_conv(inputs, outputs), *_nested_conv(outputs, outputs))
