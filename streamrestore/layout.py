"""Which MPRNet a set of tensors is, and every tensor by name that does not belong to it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from streamrestore.errors import ModelError
from streamrestore.mprnet import MPRNet, Widths

Shape = tuple[int, ...]

LARGEST_WIDTH = 1024
"""Most channels believed; the widest published network has 192."""

_SHOWN = 8
_SHOWN_LENGTH = 80
_ORB_BLOCK = re.compile(r"stage3_orsnet\.orb[123]\.body\.\d+\.CA\.conv_du\.0\.weight")
_LEVEL2 = ("encoder.encoder_level2.0", "encoder.encoder_level2.1", "decoder.decoder_level2.0")


def infer_widths(shapes: Mapping[str, Shape]) -> Widths:
    """The widths of the MPRNet whose tensors have these shapes.

    Each width is what most of several tensors say, so that one bad tensor is later named as
    such, instead of making all the others look wrong.

    Args:
        shapes: Tensor shapes by published parameter name.

    Raises:
        ModelError: These are not the tensors of an MPRNet.
    """
    n_feat = _most_common(shapes, (f"shallow_feat{i}.0.weight" for i in (1, 2, 3)))
    level2 = _most_common(shapes, (f"stage{i}_{coder}.body.0.weight" for i in (1, 2) for coder in _LEVEL2))
    orsnet = _most_common(shapes, (f"stage3_orsnet.conv_enc{i}.weight" for i in (1, 2, 3)))
    blocks = Counter(name.split(".")[1] for name in shapes if _ORB_BLOCK.fullmatch(name))
    if n_feat is None or level2 is None or orsnet is None or not blocks:
        raise ModelError(
            f"holds no MPRNet as published, but {len(shapes)} tensors named {some_names(shapes)}; "
            "networks of other projects cannot be used"
        )
    num_cab = Counter(blocks.values()).most_common(1)[0][0]
    widths = Widths(n_feat, level2 - n_feat, orsnet - n_feat, num_cab, _reduction(shapes))
    if max(n_feat, level2, orsnet) > LARGEST_WIDTH or min(n_feat - 1, level2 - n_feat, orsnet - n_feat) < 0:
        raise ModelError(f"has impossible widths: {widths}")
    return widths


def _most_common(shapes: Mapping[str, Shape], names: Iterable[str]) -> int | None:
    """The output channels that most of the named tensors have."""
    found = Counter(shape[0] for name in names if (shape := shapes.get(name)))
    return found.most_common(1)[0][0] if found else None


def _reduction(shapes: Mapping[str, Shape]) -> int:
    """By what channel attention squeezes: the factor that explains most of its tensors."""
    attention = [shape[:2] for name, shape in shapes.items() if name.endswith(".CA.conv_du.0.weight")]
    pairs = [(shape[1], shape[0]) for shape in attention if len(shape) == 2 and 0 < shape[0] <= shape[1]]
    # The smallest quotient of a consistent network always explains all of its pairs.
    candidates = sorted({channels // squeezed for channels, squeezed in pairs})
    return max(candidates, key=lambda r: sum(c // r == s for c, s in pairs), default=4)


def check_keys(shapes: Mapping[str, Shape], widths: Widths) -> None:
    """Compare tensor shapes with those of an MPRNet of these widths.

    The shared slope may be there under one or more of its names.

    Raises:
        ModelError: Names what is missing, surplus and misshapen; of many, the first ones.
    """
    network = unfilled_network(widths)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    slopes = slope_names(network)
    missing = [name for name in expected if name not in shapes]
    if not slopes.isdisjoint(shapes):
        missing = [name for name in missing if name not in slopes]
    surplus = [name for name in shapes if name not in expected]
    misshapen = [
        f"{name} {list(shape)} instead of {list(expected[name])}"
        for name, shape in shapes.items()
        if name in expected and shape != expected[name]
    ]
    problems = {"missing": missing, "surplus": surplus, "misshapen": misshapen}
    found = "; ".join(f"{len(names)} {kind}: {some_names(names)}" for kind, names in problems.items() if names)
    if found:
        raise ModelError(f"does not fit an MPRNet of {widths}: {found}")


def unfilled_network(widths: Widths) -> MPRNet:
    """A network without memory: names and shapes only."""
    with torch.device("meta"):
        return MPRNet(widths)


def slope_names(network: MPRNet) -> set[str]:
    """Every name the shared PReLU slope has in the state dict."""
    modules = network.named_modules(remove_duplicate=False)
    return {f"{name}.weight" for name, module in modules if isinstance(module, nn.PReLU)}


def some_names(names: Iterable[str]) -> str:
    """The first names, fit for a message whatever a file calls its tensors, and how many more there are."""
    listed = [ascii(name)[1:-1] for name in names]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(name[:_SHOWN_LENGTH] for name in listed[:_SHOWN]) + more
