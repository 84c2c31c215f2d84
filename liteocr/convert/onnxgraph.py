"""An ONNX graph that can be edited, and what its tensors are at a given input size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import extra
from .onnxrun import infer, opset

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

__all__ = ["Graph", "Observation", "attributes", "captured", "observe"]

Array = NDArray[Any]

_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values; text is str."""
    onnx = extra("onnx")
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


def captured(node: NodeProto) -> set[str]:
    """Names that the subgraphs of a node (the branches of an If, say) read from outside."""
    names: set[str] = set()
    for attribute in node.attribute:
        for sub in (attribute.g, *attribute.graphs):
            own = {t.name for t in sub.initializer} | {i.name for i in sub.input}
            for inner in sub.node:
                names |= ({*inner.input} | captured(inner)) - own
                own |= {*inner.output}
            names |= {o.name for o in sub.output} - own
    return names - {""}


class Graph:
    """The main graph of a model, with constants as arrays and look-up tables that edits keep up to date.

    Functions are inlined, Constant nodes and initializers become `constants`, Identity and Dropout are passed over,
    every node gets a name of its own. `nodes` is in topological order.

    Args:
        model: is not changed.
    """

    def __init__(self, model: ModelProto) -> None:
        onnx = extra("onnx")
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        proto = self._model.graph
        self.opset = opset(model)
        self.constants: dict[str, Array] = {t.name: onnx.numpy_helper.to_array(t) for t in proto.initializer}
        self.inputs = [i for i in proto.input if i.name not in self.constants]
        for value in self.inputs:  # what the export froze is free again
            for dimension in value.type.tensor_type.shape.dim:
                dimension.Clear()
        self.outputs = [o.name for o in proto.output]
        self._count = 0
        self.nodes: list[NodeProto] = []
        same: dict[str, str] = {}
        for node in proto.node:
            _rename(node, same)
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                self.constants[node.output[0]] = _constant(node)
            elif (
                node.op_type in ("Identity", "Dropout") and node.output[0] not in self.outputs and not _reads_mask(node)
            ):
                same[node.output[0]] = node.input[0]
            else:
                self.nodes.append(node)
        taken: set[str] = set()
        for n, node in enumerate(self.nodes):
            if not node.name or node.name in taken:
                node.name = f"{node.name or node.op_type}_{n}"
            taken.add(node.name)
        self.refresh()

    def refresh(self) -> None:
        """Drop nodes that nothing reads, and rebuild the tables."""
        used = set(self.outputs)
        kept: list[NodeProto] = []
        for node in reversed(self.nodes):
            if used.intersection(node.output):
                used.update(self.reads(node))
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {k: v for k, v in self.constants.items() if k in used}
        self.producers: dict[str, NodeProto] = {o: n for n in self.nodes for o in n.output if o}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in self.reads(node):
                self.readers.setdefault(name, []).append(node)

    @staticmethod
    def reads(node: NodeProto) -> list[str]:
        """Names that a node reads, those of its subgraphs included."""
        return [*dict.fromkeys((*(i for i in node.input if i), *sorted(captured(node))))]

    def scalar(self, name: str) -> float | None:
        """The value of a constant with one element; None for anything else."""
        value = self.constants.get(name)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def fresh(self, hint: str) -> str:
        """A name that no tensor has."""
        while True:
            self._count += 1
            name = f"{hint}__{self._count}"
            if name not in self.producers and name not in self.constants:
                return name

    def constant(self, value: Array, hint: str) -> str:
        """Add a constant; returns its name."""
        name = self.fresh(hint)
        self.constants[name] = value
        return name

    def make(self, kind: str, inputs: Sequence[str], output: str, name: str, **attributes: Any) -> NodeProto:
        """A node that is not yet part of the graph."""
        node: NodeProto = extra("onnx").helper.make_node(kind, inputs, [output], name=name, **attributes)
        return node

    def replace(self, node: NodeProto, new: Iterable[NodeProto]) -> None:
        """Put other nodes in the place of one; between them they write its outputs that are read."""
        place = next(i for i, n in enumerate(self.nodes) if n is node)
        self.nodes[place : place + 1] = list(new)
        self.refresh()

    def bypass(self, node: NodeProto, source: str) -> None:
        """Take a node out: what reads its first output reads `source` instead."""
        output = node.output[0]
        if output in self.outputs:
            self.replace(node, [self.make("Identity", [source], output, node.name)])
            return
        for other in self.nodes:
            _rename(other, {output: source})
        self.refresh()

    def fold(self, values: Mapping[str, Array]) -> None:
        """Make tensors constant."""
        for name, value in values.items():
            if name in self.outputs:
                continue
            self.constants[name] = value
            for i, node in enumerate(self.nodes):
                if name in node.output:
                    if len([o for o in node.output if o]) == 1:
                        del self.nodes[i]
                    else:
                        spot = list(node.output).index(name)
                        node.output[spot] = self.fresh(name)
                    break
        self.refresh()

    def model(self) -> ModelProto:
        """The model as it is now: standard ONNX, every size of its inputs free."""
        onnx = extra("onnx")
        made: ModelProto = onnx.ModelProto()
        made.CopyFrom(self._model)
        proto = made.graph
        for field in ("node", "initializer", "sparse_initializer", "value_info", "input", "quantization_annotation"):
            proto.ClearField(field)
        del made.functions[:]
        proto.node.extend(self.nodes)
        proto.input.extend(self.inputs)
        for output in proto.output:
            output.type.tensor_type.ClearField("shape")
        for name, value in self.constants.items():
            proto.initializer.append(onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))
        return made

    def before(self, *names: str) -> ModelProto:
        """The part of the model that computes some tensors."""
        onnx = extra("onnx")
        model = self.model()
        needed, kept = {*names}, []
        for node in reversed(model.graph.node):
            if needed.intersection(node.output):
                needed.update(self.reads(node))
                kept.append(node)
        del model.graph.node[:]
        model.graph.node.extend(kept[::-1])
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        unused = [t for t in model.graph.initializer if t.name not in needed]
        for tensor in unused:
            model.graph.initializer.remove(tensor)
        return model


def _reads_mask(node: NodeProto) -> bool:
    return len(node.output) > 1 and bool(node.output[1])


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    """Let a node and its subgraphs read other tensors."""
    if not names:
        return
    for i, name in enumerate(node.input):
        if name in names:
            node.input[i] = names[name]
    for attribute in node.attribute:
        for sub in (attribute.g, *attribute.graphs):
            _rename_graph(sub, names)


def _rename_graph(graph: GraphProto, names: Mapping[str, str]) -> None:
    own = (
        {t.name for t in graph.initializer} | {i.name for i in graph.input} | {o for n in graph.node for o in n.output}
    )
    outer = {old: new for old, new in names.items() if old not in own}
    for node in graph.node:
        _rename(node, outer)
    passed = [o.name for o in graph.output if o.name in outer]
    if passed:  # an output cannot be renamed without changing the graph's interface: copy
        onnx = extra("onnx")
        graph.node.extend(onnx.helper.make_node("Identity", [outer[name]], [name]) for name in passed)


def _constant(node: NodeProto) -> Array:
    onnx = extra("onnx")
    (attribute,) = node.attribute
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        array: Array = onnx.numpy_helper.to_array(value)
        return array
    if attribute.name in ("value_float", "value_floats"):
        return np.asarray(value, np.float32)
    if attribute.name in ("value_int", "value_ints"):
        return np.asarray(value, np.int64)
    return np.asarray(value)


@dataclass(frozen=True)
class Observation:
    """What was seen in one run: the shape of every tensor, and the values of those that depend on shapes alone."""

    shapes: dict[str, tuple[int, ...]]
    values: dict[str, Array]


def static(graph: Graph) -> dict[str, bool]:
    """Tensors that do not depend on the pixels: True where they follow the input's size, False where not even that."""
    kinds: dict[str, bool] = dict.fromkeys(graph.constants, False)
    for node in graph.nodes:
        if node.op_type in _RANDOM:
            continue
        reads = graph.reads(node)
        if node.op_type in ("Shape", "Size"):
            kind = kinds.get(node.input[0], True)
        elif reads and all(name in kinds for name in reads):
            kind = any(kinds[name] for name in reads)
        else:
            continue
        for name in node.output:
            kinds[name] = kind
    return kinds


def observe(graph: Graph, inputs: Mapping[str, Array]) -> Observation:
    """Run a graph once and look at it.

    Raises:
        ModelFileError, UnsupportedError: as :func:`onnxrun.infer`.
    """
    onnx = extra("onnx")
    kinds = static(graph)
    model = graph.model()
    seen: dict[str, str] = {}
    for name in (o for n in graph.nodes for o in n.output if o and o not in kinds):
        seen[name] = f"shape of {name}"
        model.graph.node.append(onnx.helper.make_node("Shape", [name], [seen[name]]))
    values = [name for name in kinds if name not in graph.constants]
    found = infer(model, inputs, [*seen.values(), *values])
    shapes = {name: tuple(int(v) for v in found[shape]) for name, shape in seen.items() if shape in found}
    shapes |= {name: array.shape for name, array in inputs.items()}
    shapes |= {name: found[name].shape for name in values if name in found}
    shapes |= {name: value.shape for name, value in graph.constants.items()}
    return Observation(shapes, {name: found[name] for name in values if name in found})
