"""A model as a graph with a value for every tensor: what depends on what, and by which operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .layout import Array, Float, sample, span

__all__ = ["COUNTED", "Graph", "Node", "Reference", "family"]


@dataclass(frozen=True)
class Node:
    """An operator of the reference.

    Attributes:
        op: its type, such as ``"Conv"`` or ``"aten::conv2d"``.
        name: its name, possibly empty.
        inputs: tensors that it reads, constants included or not.
        outputs: tensors that it makes.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Reference:
    """A network that is taken to be right, and what it computed in one run.

    Attributes:
        nodes: in the order in which they run.
        inputs: names of the tensors that it takes.
        outputs: names of those that it gives.
        values: tensors by name, the inputs among them, with their batch axis. What depends on no input may be missing.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: Mapping[str, Array]


_FAMILIES = {
    "linear": "conv convtranspose _convolution conv1d conv2d conv3d conv_transpose2d convolution convolution1d "
    "convolution3d convolutiondepthwise convolutiondepthwise1d convolutiondepthwise3d deconvolution deconvolution1d "
    "deconvolutiondepthwise deformableconv2d gemm matmul innerproduct linear addmm mm bmm baddbmm einsum",
    "pool": "pooling pooling1d pooling3d reduction maxpool averagepool globalaveragepool globalmaxpool lppool "
    "reducemean reducesum reducemax reducemin reducel2 reduceprod max_pool2d avg_pool2d adaptive_avg_pool2d "
    "adaptive_max_pool2d mean sum amax amin max_pool2d_with_indices max_pool1d avg_pool1d",
    "resize": "interp resize upsample upsample_bilinear2d upsample_nearest2d upsample_bicubic2d pixelshuffle "
    "depthtospace pixel_shuffle gridsample grid_sampler",
    "concat": "concat cat stack",
    "softmax": "softmax logsoftmax log_softmax",
    "recurrent": "lstm gru rnn",
    "norm": "batchnorm batchnormalization batch_norm instancenorm instancenormalization instance_norm layernorm "
    "layernormalization layer_norm groupnorm groupnormalization group_norm rmsnorm normalize lrn",
    "arithmetic": "binaryop eltwise scale bias add sub rsub mul div pow max min sum2 unaryop sqrt exp log neg "
    "reciprocal abs",
    "activation": "relu clip hardsigmoid hardswish sigmoid tanh elu selu celu gelu erf swish silu mish prelu "
    "leakyrelu softplus leaky_relu hardtanh hardtanh_ relu6 clamp clamp_min clamp_max threshold softsign",
    "layout": "reshape flatten squeeze unsqueeze expanddims permute transpose identity cast dropout view "
    "contiguous permute_ t alias feature_dropout noop split splitncnn to clone detach unsafe_view _to_copy",
    "part": "slice crop gather narrow select chunk splitv",
}
_FAMILY = {name: family for family, names in _FAMILIES.items() for name in names.split()}
COUNTED = {"linear", "pool", "resize", "concat", "softmax", "recurrent"}
"""What a conversion neither adds nor removes."""


def family(op: str) -> str:
    """The kind of work that an operator or a layer does.

    >>> family("Conv"), family("ConvolutionDepthWise"), family("aten::hardswish_"), family("Loop")
    ('linear', 'linear', 'activation', 'other')
    """
    name = op.rpartition("::")[2].lower()
    return _FAMILY.get(name) or _FAMILY.get(name.rstrip("_"), "other")


class Graph:
    """What depends on what in the reference. Sets of nodes are integers, a bit for each node."""

    def __init__(self, reference: Reference) -> None:
        self.nodes = reference.nodes
        self.values = {
            name: value for name, value in reference.values.items() if value.dtype.kind == "f" and value.size > 0
        }
        self.maker: dict[str, int] = {}
        self.readers: dict[str, int] = {}
        self.above: dict[str, int] = {}
        for i, node in enumerate(self.nodes):
            upstream = 1 << i
            for name in node.inputs:
                self.readers[name] = self.readers.get(name, 0) | 1 << i
                upstream |= self.above.get(name, 0)
            for name in node.outputs:
                self.maker[name] = i
                self.above[name] = upstream
        below = [0] * len(self.nodes)
        for i in reversed(range(len(self.nodes))):
            below[i] = 1 << i
            for name in self.nodes[i].outputs:
                for j in _bits(self.readers.get(name, 0)):
                    below[i] |= below[j]
        self.below = {
            name: _union(below[j] for j in _bits(self.readers.get(name, 0)))
            for name in {*reference.inputs, *self.maker}
        }
        fed = _union(self.below.get(name, 0) for name in reference.inputs)
        for name in [n for n in self.values if n not in reference.inputs]:
            if name not in self.maker or not fed >> self.maker[name] & 1:
                del self.values[name]  # a constant
        self.order = {name: self.maker.get(name, -1) for name in self.values}
        self.by_size: dict[int, list[str]] = {}
        for name in sorted(self.values, key=self.order.__getitem__):
            self.by_size.setdefault(self.values[name].size, []).append(name)
        self._roots: dict[str, str] = {}
        self._samples: dict[str, Float] = {}
        self._spans: dict[str, float] = {}

    def op(self, tensor: str) -> str:
        """The operator that makes a tensor; "" for an input."""
        return self.nodes[self.maker[tensor]].op if tensor in self.maker else ""

    def root(self, tensor: str) -> str:
        """The first tensor with the same numbers in the same order, along the chain of operators that lead here."""
        if tensor not in self._roots:
            root = tensor
            value = self.values[tensor].ravel()
            for name in self.nodes[self.maker[tensor]].inputs if tensor in self.maker else ():
                other = self.values.get(name)
                if other is not None and other.size == value.size and np.array_equal(other.ravel(), value):
                    root = self.root(name)
                    break
            self._roots[tensor] = root
        return self._roots[tensor]

    def path(self, anchors: frozenset[str], tensor: str) -> int | None:
        """The nodes that lead from tensors to another one; None where it does not depend on all of them."""
        done = downstream = 0
        for anchor in anchors:
            if anchor != tensor and not self.above.get(tensor, 0) & self.readers.get(anchor, 0):
                return None
            done |= self.above.get(anchor, 0)
            downstream |= self.below.get(anchor, 0)
        return self.above.get(tensor, 0) & ~done & downstream

    def counted(self, path: int) -> Counter[str]:
        """How many operators of each counted family are among the nodes."""
        kinds = Counter[str]()
        for i in _bits(path):
            kind = family(self.nodes[i].op)
            if kind in COUNTED and any(name in self.values for name in self.nodes[i].outputs):
                kinds[kind] += 1
        return kinds

    def operators(self, path: int) -> tuple[str, ...]:
        """Types of the nodes that compute something."""
        return tuple(
            self.nodes[i].op
            for i in _bits(path)
            if family(self.nodes[i].op) != "layout" and any(name in self.values for name in self.nodes[i].outputs)
        )

    def sample(self, tensor: str) -> Float:
        """Some elements, the same for every tensor of the same size."""
        if tensor not in self._samples:
            self._samples[tensor] = sample(self.values[tensor])
        return self._samples[tensor]

    def span(self, tensor: str) -> float:
        """See `span`."""
        if tensor not in self._spans:
            self._spans[tensor] = span(self.values[tensor])
        return self._spans[tensor]


def _bits(number: int) -> Iterator[int]:
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low


def _union(sets: Iterator[int]) -> int:
    union = 0
    for part in sets:
        union |= part
    return union
