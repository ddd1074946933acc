"""MPRNet, the three-stage restoration network, written from the paper.

Zamir et al., "Multi-Stage Progressive Image Restoration", CVPR 2021, arXiv:2102.02808;
section and figure numbers below are that paper's. Local pooling is Chu et al., "Improving
Image Restoration by Revisiting Global Information Aggregation", ECCV 2022,
arXiv:2112.04491.

Shapes are ``[N, C, H, W]``; images are RGB in [0, 1]. No convolution has a bias. One PReLU,
with one slope, is shared by the whole network. Parameter names are those of the published
checkpoints, so such a file loads without a translation table.

Inside this module, *stage* means MPRNet's stage 1, 2 or 3, and *quarters* and *halves* are
the pieces of the image that its first two stages see (section 3.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamrestore.patches import SIZE_MULTIPLE
from streamrestore.tasks import Stages

LOCAL_POOLING_FACTOR = 1.5
"""A local-pooling window over what the block saw in training (arXiv:2112.04491, section 4)."""


@dataclass(frozen=True, slots=True)
class Widths:
    """What sets one MPRNet apart from another; all of it can be read from tensor shapes."""

    n_feat: int
    """Channels at full resolution."""
    scale_unetfeats: int
    """Channels added at each level down in stages 1 and 2."""
    scale_orsnetfeats: int
    """Channels added to ``n_feat`` in stage 3."""
    num_cab: int
    """Channel attention blocks in each block of stage 3."""
    reduction: int = 4
    """By what channel attention squeezes its channels."""

    def levels(self) -> tuple[int, int, int]:
        """Channels of the three encoder and decoder levels, from full to quarter resolution."""
        n, u = self.n_feat, self.scale_unetfeats
        return n, n + u, n + 2 * u


class Levels(NamedTuple):
    """Features of an encoder or decoder, from full (``one``) to quarter (``three``) resolution."""

    one: Tensor
    two: Tensor
    three: Tensor


def _conv(c_in: int, c_out: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)


def window_mean(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Mean over a sliding window, as large as the input (local pooling, arXiv:2112.04491).

    Along an axis no longer than its window the whole axis is taken. Where the window would
    leave the map, the nearest complete window's mean is used. Running sums are float32
    whatever ``x`` is, one axis at a time, so that they stay small and exact enough.

    Args:
        x: ``[N, C, H, W]``, any float dtype.
        window: ``(height, width)`` in pixels of ``x``.

    Returns:
        ``[N, C, H, W]`` in the dtype of ``x``, or ``[N, C, 1, 1]`` where the window covers
        the whole map.
    """
    height, width = x.shape[-2:]
    rows, columns = min(window[0], height), min(window[1], width)
    if (rows, columns) == (height, width):
        return channel_means(x)
    sums = F.pad(x.float().cumsum(-1), (1, 0))
    means = (sums[..., columns:] - sums[..., :-columns]) / columns
    sums = F.pad(means.cumsum(-2), (0, 0, 1, 0))
    means = (sums[..., rows:, :] - sums[..., :-rows, :]) / rows
    over_y, over_x = height - means.shape[-2], width - means.shape[-1]
    edges = (over_x // 2, over_x - over_x // 2, over_y // 2, over_y - over_y // 2)
    return F.pad(means, edges, mode="replicate").to(x.dtype)


def channel_means(x: Tensor) -> Tensor:
    """Mean of each channel.

    Args:
        x: ``[N, C, H, W]``, any float dtype.

    Returns:
        ``[N, C, 1, 1]`` in the dtype of ``x``.
    """
    if x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last) and x.shape[-1] > 1:
        # With channels last, torch's mean is ten times as slow there as its pooling of rows.
        return F.avg_pool2d(x, (1, x.shape[-1])).float().mean(-2, keepdim=True).to(x.dtype)
    return x.mean((-2, -1), keepdim=True)


def scale_and_add(features: Tensor, scale: Tensor, skip: Tensor) -> Tensor:
    """``features * scale + skip``; where no gradient is wanted, in one kernel, or in the place of the features.

    Args:
        features: ``[N, C, H, W]``, which nobody else needs.
        scale: ``[N, C, 1, 1]`` or ``[N, C, H, W]``.
        skip: ``[N, C, H, W]``.
    """
    if torch.is_grad_enabled():
        return features * scale + skip
    if features.device.type == "cpu":
        return features.mul_(scale).add_(skip)
    return torch.addcmul(skip, features, scale)


def _sum(fresh: Tensor, *others: Tensor) -> Tensor:
    """The sum, in the place of the first, which nobody else needs: gradients of convolutions do not either."""
    for other in others:
        fresh += other
    return fresh


class ChannelAttention(nn.Module):
    """A weight in (0, 1) for each channel, from the channel means (figure 2)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            _conv(channels, channels // reduction, 1),
            nn.ReLU(inplace=True),
            _conv(channels // reduction, channels, 1),
            nn.Sigmoid(),
        )
        self.window: tuple[int, int] | None = None
        """Local-pooling window, (height, width); None takes the mean of the whole input."""

    def forward(self, x: Tensor) -> Tensor:
        """The weights of the channels of ``[N, C, H, W]``: ``[N, C, 1, 1]``, or with a window ``[N, C, H, W]``."""
        mean = channel_means(x) if self.window is None else window_mean(x, self.window)
        weight: Tensor = self.conv_du(mean)
        return weight


class CAB(nn.Module):
    """Channel attention block: residual, two convolutions, channel attention (figure 2)."""

    def __init__(self, channels: int, reduction: int, act: nn.PReLU) -> None:
        super().__init__()
        self.CA = ChannelAttention(channels, reduction)
        self.body = nn.Sequential(_conv(channels, channels, 3), act, _conv(channels, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same shape."""
        features: Tensor = self.body(x)
        return scale_and_add(features, self.CA(features), x)


class Down(nn.Module):
    """Half the resolution: bilinear x0.5, then a 1x1 convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Upsample(scale_factor=0.5, mode="bilinear", align_corners=False),
            _conv(c_in, c_out, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, c_in, H, W]`` to ``[N, c_out, H/2, W/2]``."""
        out: Tensor = self.down(x)
        return out


class Up(nn.Module):
    """Twice the resolution: bilinear x2 and a 1x1 convolution.

    The two are linear and commute, so the convolution runs first, on a quarter of the pixels.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            _conv(c_in, c_out, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, c_in, H, W]`` to ``[N, c_out, 2H, 2W]``."""
        upsample, conv = self.up
        out: Tensor = upsample(conv(x))
        return out


class Encoder(nn.Module):
    """Three levels of two CABs; with CSFF, fed by the stage before (section 3.2)."""

    def __init__(self, widths: Widths, act: nn.PReLU, *, csff: bool) -> None:
        super().__init__()
        one, two, three = widths.levels()

        def level(channels: int) -> nn.Sequential:
            return nn.Sequential(*(CAB(channels, widths.reduction, act) for _ in range(2)))

        self.encoder_level1 = level(one)
        self.encoder_level2 = level(two)
        self.encoder_level3 = level(three)
        self.down12 = Down(one, two)
        self.down23 = Down(two, three)
        self.csff = csff
        if csff:
            self.csff_enc1, self.csff_dec1 = _conv(one, one, 1), _conv(one, one, 1)
            self.csff_enc2, self.csff_dec2 = _conv(two, two, 1), _conv(two, two, 1)
            self.csff_enc3, self.csff_dec3 = _conv(three, three, 1), _conv(three, three, 1)

    def forward(self, x: Tensor, encoded: Levels | None = None, decoded: Levels | None = None) -> Levels:
        """Encode ``x``; ``encoded`` and ``decoded`` are stage 1's features, for CSFF."""
        one = self.encoder_level1(x)
        if encoded is not None and decoded is not None:
            one = _sum(self.csff_enc1(encoded.one), self.csff_dec1(decoded.one), one)
        two = self.encoder_level2(self.down12(one))
        if encoded is not None and decoded is not None:
            two = _sum(self.csff_enc2(encoded.two), self.csff_dec2(decoded.two), two)
        three = self.encoder_level3(self.down23(two))
        if encoded is not None and decoded is not None:
            three = _sum(self.csff_enc3(encoded.three), self.csff_dec3(decoded.three), three)
        return Levels(one, two, three)


class Decoder(nn.Module):
    """From the deepest level back up; skips go through a CAB (section 3.1)."""

    def __init__(self, widths: Widths, act: nn.PReLU) -> None:
        super().__init__()
        one, two, three = widths.levels()
        reduction = widths.reduction

        def level(channels: int) -> nn.Sequential:
            return nn.Sequential(*(CAB(channels, reduction, act) for _ in range(2)))

        self.decoder_level1 = level(one)
        self.decoder_level2 = level(two)
        self.decoder_level3 = level(three)
        self.skip_attn1 = CAB(one, reduction, act)
        self.skip_attn2 = CAB(two, reduction, act)
        self.up21 = Up(two, one)
        self.up32 = Up(three, two)

    def forward(self, encoded: Levels) -> Levels:
        """Decode an encoder's levels; the shapes stay theirs."""
        three = self.decoder_level3(encoded.three)
        two = self.decoder_level2(_sum(self.up32(three), self.skip_attn2(encoded.two)))
        one = self.decoder_level1(_sum(self.up21(two), self.skip_attn1(encoded.one)))
        return Levels(one, two, three)


class SAM(nn.Module):
    """Supervised attention: a restored image, and features gated by it (section 3.3, figure 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels, 1)
        self.conv2 = _conv(channels, 3, 1)
        self.conv3 = _conv(3, channels, 1)

    def image(self, features: Tensor, degraded: Tensor) -> Tensor:
        """``[N, 3, H, W]`` restored image, in the dtype of the degraded one."""
        out: Tensor = self.conv2(features) + degraded
        return out

    def features(self, features: Tensor, image: Tensor) -> Tensor:
        """``[N, C, H, W]`` features for the next stage, gated by its own restored image."""
        mask = torch.sigmoid(self.conv3(image.to(features.dtype)))
        return scale_and_add(self.conv1(features), mask, features)


class ORB(nn.Module):
    """Original-resolution block: CABs and a convolution, residual (figure 3c)."""

    def __init__(self, channels: int, widths: Widths, act: nn.PReLU) -> None:
        super().__init__()
        cabs = (CAB(channels, widths.reduction, act) for _ in range(widths.num_cab))
        self.body = nn.Sequential(*cabs, _conv(channels, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same shape."""
        return _sum(self.body(x), x)


class ORSNet(nn.Module):
    """Stage 3: full resolution throughout, fed by stage 2's features (section 3.1)."""

    def __init__(self, widths: Widths, act: nn.PReLU) -> None:
        super().__init__()
        one, two, three = widths.levels()
        channels = one + widths.scale_orsnetfeats
        self.orb1 = ORB(channels, widths, act)
        self.orb2 = ORB(channels, widths, act)
        self.orb3 = ORB(channels, widths, act)
        self.up_enc1, self.up_dec1 = Up(two, one), Up(two, one)
        self.up_enc2 = nn.Sequential(Up(three, two), Up(two, one))
        self.up_dec2 = nn.Sequential(Up(three, two), Up(two, one))
        self.conv_enc1, self.conv_dec1 = _conv(one, channels, 1), _conv(one, channels, 1)
        self.conv_enc2, self.conv_dec2 = _conv(one, channels, 1), _conv(one, channels, 1)
        self.conv_enc3, self.conv_dec3 = _conv(one, channels, 1), _conv(one, channels, 1)

    def forward(self, x: Tensor, encoded: Levels, decoded: Levels) -> Tensor:
        """``[N, C, H, W]`` to the same shape; encoded and decoded are stage 2's features."""
        x = self.orb1(x)
        x = _sum(self.conv_enc1(encoded.one), self.conv_dec1(decoded.one), x)
        x = self.orb2(x)
        x = _sum(self.conv_enc2(self.up_enc1(encoded.two)), self.conv_dec2(self.up_dec1(decoded.two)), x)
        x = self.orb3(x)
        return _sum(self.conv_enc3(self.up_enc2(encoded.three)), self.conv_dec3(self.up_dec2(decoded.three)), x)


def _split_width(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` to ``[2N, C, H, W/2]``: the left half of each image, then its right half."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h, 2, w // 2).permute(0, 3, 1, 2, 4).reshape(2 * n, c, h, w // 2)


def _split_height(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` to ``[2N, C, H/2, W]``: the top half of each image, then its bottom half."""
    n, c, h, w = x.shape
    return x.reshape(n, c, 2, h // 2, w).permute(0, 2, 1, 3, 4).reshape(2 * n, c, h // 2, w)


def _join_width(x: Tensor) -> Tensor:
    """The inverse of `_split_width`."""
    return torch.cat((x[0::2], x[1::2]), dim=3)


def _join_height(x: Tensor) -> Tensor:
    """The inverse of `_split_height`."""
    return torch.cat((x[0::2], x[1::2]), dim=2)


class MPRNet(nn.Module):
    """Restores images in up to three stages, each a complete restored image (figure 2)."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.widths = widths
        n = widths.n_feat
        orsnet = n + widths.scale_orsnetfeats
        act = nn.PReLU()

        def shallow() -> nn.Sequential:
            return nn.Sequential(_conv(3, n, 3), CAB(n, widths.reduction, act))

        self.shallow_feat1 = shallow()
        self.shallow_feat2 = shallow()
        self.shallow_feat3 = shallow()
        self.stage1_encoder = Encoder(widths, act, csff=False)
        self.stage1_decoder = Decoder(widths, act)
        self.stage2_encoder = Encoder(widths, act, csff=True)
        self.stage2_decoder = Decoder(widths, act)
        self.stage3_orsnet = ORSNet(widths, act)
        self.sam12 = SAM(n)
        self.sam23 = SAM(n)
        self.concat12 = _conv(2 * n, n, 3)
        self.concat23 = _conv(2 * n, orsnet, 3)
        self.tail = _conv(orsnet, 3, 3)

    def forward(self, image: Tensor, stages: Stages = 3) -> tuple[Tensor, ...]:
        """Restore a batch of images, computing no more than the stages asked for.

        Quarters and halves go through as one batch, so all images share each launch. Features
        have the dtype of the weights; images keep their own, so that a float32 image loses
        nothing when the weights are bfloat16.

        Args:
            image: ``[N, 3, H, W]`` RGB in [0, 1], float32 or the dtype of the weights; H and W
                multiples of `SIZE_MULTIPLE`.
            stages: How many stages to run. By arithmetic, stage 1 costs about a seventh of
                the whole network and stages 1 and 2 about three tenths.

        Returns:
            One ``[N, 3, H, W]`` image per stage run, in order, *not* clamped.

        Raises:
            ValueError: H or W is not a multiple of `SIZE_MULTIPLE`.
        """
        height, width = image.shape[-2:]
        if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
            raise ValueError(
                f"the network got {height}x{width} px; both must be multiples of {SIZE_MULTIPLE}: pad first"
            )
        halves = _split_height(image)
        features = image.to(self.tail.weight.dtype)
        feature_halves = _split_height(features)

        encoded = self.stage1_encoder(self.shallow_feat1(_split_width(feature_halves)))
        encoded = Levels(*map(_join_width, encoded))
        decoded = self.stage1_decoder(encoded)
        restored = self.sam12.image(decoded.one, halves)
        images: tuple[Tensor, ...] = (_join_height(restored),)
        if stages == 1:
            return images

        gated = self.sam12.features(decoded.one, restored)
        x = self.concat12(torch.cat((self.shallow_feat2(feature_halves), gated), dim=1))
        encoded = self.stage2_encoder(x, encoded, decoded)
        encoded = Levels(*map(_join_height, encoded))
        decoded = self.stage2_decoder(encoded)
        restored = self.sam23.image(decoded.one, image)
        images = (*images, restored)
        if stages == 2:
            return images

        gated = self.sam23.features(decoded.one, restored)
        x = self.concat23(torch.cat((self.shallow_feat3(features), gated), dim=1))
        x = self.stage3_orsnet(x, encoded, decoded)
        return (*images, self.tail(x) + image)

    def use_local_pooling(self, crop: int | None) -> None:
        """Pool channel attention over windows fitted to the training crop, or (None) globally.

        Each block's window is `LOCAL_POOLING_FACTOR` times what that very block saw in
        training: stage 1's encoder saw quarters of a crop, its decoder and stage 2's encoder
        halves (half the height, all the width), the rest the whole; each level down, half of
        that. Inputs that fit the windows give the same numbers as global pooling.

        Args:
            crop: Side of the square training crop, in pixels.
        """
        quarter, half, whole = (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)
        seen: Sequence[tuple[nn.Module, tuple[float, float]]] = (
            (self.shallow_feat1, quarter),
            (self.stage1_encoder, quarter),
            (self.stage1_decoder, half),
            (self.shallow_feat2, half),
            (self.stage2_encoder, half),
            (self.stage2_decoder, whole),
            (self.shallow_feat3, whole),
            (self.stage3_orsnet, whole),
        )
        for part, (rows, columns) in seen:
            for name, module in part.named_modules():
                if isinstance(module, ChannelAttention):
                    module.window = None
                    if crop is not None:
                        size = LOCAL_POOLING_FACTOR * crop * _level_scale(name)
                        module.window = (int(size * rows), int(size * columns))


def _level_scale(name: str) -> float:
    """Resolution of a block, from the level in its name (``skip_attn2.CA`` works at a half)."""
    for level, scale in (("level2", 0.5), ("level3", 0.25), ("skip_attn2", 0.5)):
        if level in name:
            return scale
    return 1.0
