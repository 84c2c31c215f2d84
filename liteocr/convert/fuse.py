"""Let convolutions apply the hard-swish behind them.

pnnx fuses ReLU, clip and sigmoid into the layer in front and leaves HardSwish a layer of its own, which reads and
writes the whole blob once more. ncnn's convolutions and InnerProduct compute it themselves as activation 6 with (alpha,
beta): ``x * clip(alpha * x + beta, 0, 1)``, bit for bit the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from .param import Layer, Param

__all__ = ["fuse_hard_swish"]

FUSING = ("Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise", "InnerProduct")
_ACTIVATION, _ACTIVATION_PARAMS = 9, 10
_HARD_SWISH = 6


def fuse_hard_swish(param: Param) -> Param:
    """Take every HardSwish that is the only user of a convolution's output into the convolution.

    The blob keeps the name that HardSwish gave it, and the weights file stays as it is.
    """
    uses = Counter(blob for layer in param.layers for blob in layer.inputs)
    after = {layer.inputs[0]: layer for layer in param.layers if layer.type == "HardSwish"}
    layers = []
    gone = set()
    for layer in param.layers:
        if layer.name in gone:
            continue
        follower = after.get(layer.outputs[0]) if len(layer.outputs) == 1 else None
        if follower is None or not _takes(layer) or uses[layer.outputs[0]] != 1:
            layers.append(layer)
            continue
        gone.add(follower.name)
        slope = (follower.number(0, 0.2), follower.number(1, 0.5))
        params = {**layer.params, _ACTIVATION: _HARD_SWISH, _ACTIVATION_PARAMS: slope}
        layers.append(replace(layer, outputs=follower.outputs, params=params))
    return Param(tuple(layers))


def _takes(layer: Layer) -> bool:
    return layer.type in FUSING and layer.integer(_ACTIVATION) == 0
