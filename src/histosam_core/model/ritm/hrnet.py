"""HRNetV2 (Wang et al. 2020): branches at 1/4 to 1/32 of the input that keep exchanging features.

The names of its parts are those of the published weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.model.specialists.click_network import resized

STEM_CHANNELS = 64
BRANCHES = 4


class HrNet(nn.Module):
    """The backbone: (B, 3, H, W) normalised RGB -> (B, 15 x width, H/4, W/4).

    Parameters
    ----------
    width
        Channels of the finest branch; each coarser one has twice as many.
    small
        The small variant: two blocks in a branch instead of four, and 3 and 2 exchanges in
        the third and fourth stage instead of 4 and 3.
    """

    channels_last = True
    """Ask `folded` for weights in that order: a third faster on a CPU."""

    def __init__(self, width: int, *, small: bool) -> None:
        super().__init__()
        self.channels = width * (2**BRANCHES - 1)
        blocks = 2 if small else 4
        exchanges = {2: 1, 3: 3, 4: 2} if small else {2: 1, 3: 4, 4: 3}

        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.conv2 = nn.Conv2d(STEM_CHANNELS, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM_CHANNELS)
        self.layer1 = nn.Sequential(
            _Bottleneck(STEM_CHANNELS, STEM_CHANNELS),
            *(_Bottleneck(256, STEM_CHANNELS) for _ in range(blocks - 1)),
        )
        two, three, four = ([width * 2**i for i in range(n)] for n in (2, 3, 4))
        self.transition1 = _transition([256], two)
        self.stage2 = _stage(two, blocks, exchanges[2])
        self.transition2 = _transition(two, three)
        self.stage3 = _stage(three, blocks, exchanges[3])
        self.transition3 = _transition(three, four)
        self.stage4 = _stage(four, blocks, exchanges[4])

    def stem(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB -> (B, 64, H/2, W/2): all that comes before the clicks."""
        return functional.relu(self.bn1(self.conv1(image)), inplace=True)

    def features(self, stem: Tensor, maps: Tensor) -> Tensor:
        """Go on from the stem: (B, 15 x width, H/4, W/4), branches from fine to coarse.

        `maps`, (B, 64, H/2, W/2), are made from the clicks and added to the stem; overwritten.
        """
        x = functional.relu(self.bn2(self.conv2(maps.add_(stem))), inplace=True)
        branches = [self.layer1(x)]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            # A new branch comes from the coarsest one there is.
            sources = branches + branches[-1:] * (len(transition) - len(branches))
            branches = stage([step(x) for step, x in zip(transition, sources, strict=True)])
        finest = branches[0]
        return torch.cat([finest, *(resized(x, finest.shape[-2:]) for x in branches[1:])], 1)


class _Exchange(nn.Module):
    """Residual blocks in every branch, then each branch takes up what the others found."""

    def __init__(self, channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(_BasicBlock(width) for _ in range(blocks))) for width in channels
        )
        self.fuse_layers = nn.ModuleList(
            _Fusion(_between(channels, source, target) for source in range(len(channels)))
            for target in range(len(channels))
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        branches = [blocks(x) for blocks, x in zip(self.branches, branches, strict=True)]
        return [
            fusion(branches, x.shape[-2:])
            for fusion, x in zip(self.fuse_layers, branches, strict=True)
        ]


class _Fusion(nn.ModuleList):
    """What all branches have for one of them, summed at its size."""

    def forward(self, branches: list[Tensor], size_hw: Sequence[int]) -> Tensor:
        first, second, *others = (
            resized(layer(x), size_hw) for layer, x in zip(self, branches, strict=True)
        )
        total = first + second  # not in place: one of them is a branch, and others read it too
        for term in others:
            total += term
        return functional.relu(total, inplace=True)


class _BasicBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return functional.relu(self.bn2(self.conv2(y)).add_(x), inplace=True)


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        outputs = 4 * channels
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Identity() if inputs == outputs else conv_norm(inputs, outputs, 1, relu=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        return functional.relu(self.bn3(self.conv3(y)).add_(self.downsample(x)), inplace=True)


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, relu: bool = True
) -> nn.Sequential:
    """A convolution without bias, its batch norm, and a ReLU where asked for."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(
        convolution, nn.BatchNorm2d(outputs), *([nn.ReLU(inplace=True)] if relu else [])
    )


def _stage(channels: Sequence[int], blocks: int, exchanges: int) -> nn.Sequential:
    return nn.Sequential(*(_Exchange(channels, blocks) for _ in range(exchanges)))


def _transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """From one stage's branches to the next one's, which are one more."""
    kept: list[nn.Module] = [
        nn.Identity() if old == new else conv_norm(old, new, 3)
        for old, new in zip(before, after, strict=False)
    ]
    return nn.ModuleList([*kept, nn.Sequential(conv_norm(before[-1], after[-1], 3, stride=2))])


def _between(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """From one branch to the width of another, and down to its size if that is coarser."""
    if source == target:
        return nn.Identity()
    if source > target:
        return conv_norm(channels[source], channels[target], 1, relu=False)
    steps = [conv_norm(channels[source], channels[source], 3, 2) for _ in range(source + 1, target)]
    return nn.Sequential(*steps, conv_norm(channels[source], channels[target], 3, 2, relu=False))
