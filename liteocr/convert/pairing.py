"""Which blob of an ncnn network is which tensor of the network that it was made from.

A conversion folds, fuses, splits and reshapes, so neither names nor positions carry over, and where the two networks
compute different things, values do not either. What carries over is every single layer: given the reference's own
values of its inputs, a right layer makes a tensor of the reference, to the last bits. So the layers are run one by one,
each on reference values:

1. A result that equals a tensor of the reference is paired with it *by value*, whatever its name, and its readers are
   fed with the reference's array.
2. A result that equals none is either an intermediate that the reference does not have (ncnn's HardSigmoid where the
   reference has one HardSwish) or it is wrong. For the second case there are candidates: tensors that the graph
   computes from the counterparts of the layer's inputs, by operators that this layer can stand for. What decides is
   what comes after: the readers of the blob are run on its own values, and on those of each candidate. The one that
   leads to tensors of the reference again is right. A wrong layer is so paired *by order*, healed, and hides nothing
   that comes after it.
3. Where an operator is missing, the layer before it makes a tensor of the reference, only not the right one, and is
   noticed when a reader fails. So before a layer is called wrong, it is tried with later tensors for its inputs.
4. Outputs of the networks are paired with each other in any case.

Not handled: batches; layers of several outputs whose order was changed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from .layout import Array, Float, arrange, bare, lay, sample, span
from .modelgraph import COUNTED, Graph, Reference, family
from .param import Layer, Param

__all__ = ["Alignment", "How", "Match", "Result", "align", "allowed", "excess"]

How = Literal["input", "name", "value", "order", "output"]
"""By what a blob was paired: as an input, an output, by its value (and its name), or by its place among operators."""

_CANDIDATES = 6
"""How many are tried, the likeliest first."""
_LATER = 6
"""How many tensors are tried as inputs of a layer that fails."""
_PROBED = 6
"""How many layers behind a doubtful one are run to judge it."""


def _ends(layer: Layer) -> tuple[str, ...]:
    """Families of the operator that may make what a layer makes."""
    own = family(layer.type)
    if own == "linear":
        if layer.integer(9) and layer.type != "Gemm":  # an activation is fused into it
            return ("activation", "arithmetic")
        return ("linear", "arithmetic", "norm")
    if own == "activation":
        return (own, "arithmetic")
    return (own,)


@dataclass(frozen=True)
class Result:
    """What one layer made of its inputs.

    Attributes:
        arrays: its outputs.
        noise: for the first output, the standard deviation of what rounding of the stored weights adds; None: none.
        slack: what else may be added to the tolerance, as a part of the range: where weights are rounded and the
            standard deviation is not known.
        least: range that is assumed where the values' own is smaller: 1 for probabilities, which are computed to so
            many places after the point.
    """

    arrays: tuple[Float, ...]
    noise: Float | None = None
    slack: float = 0.0
    least: float = 0.0


Run = Callable[[Layer, Sequence[Float]], Result | None]
"""Runs one layer on its inputs; None where it fails."""

SIGMAS = 6.0
"""How many standard deviations of rounding are explained by rounding."""


def allowed(result: Result, reference: Array, tolerance: float) -> Float | float:
    """The largest difference of an element that is not counted as one."""
    base = (tolerance + result.slack) * max(span(reference), result.least)
    if result.noise is None:
        return base
    noise: Float = np.float32(base) + np.float32(SIGMAS) * result.noise
    return noise


def excess(found: Array, reference: Array, limit: Float | float) -> float:
    """The largest difference of an element as a multiple of what is allowed there.

    >>> excess(np.array([1.0, 2.0]), np.array([1.0, 4.0]), 0.5)
    4.0
    """
    with np.errstate(all="ignore"):
        gap = np.abs(found.astype(np.float32) - reference.astype(np.float32))
        gap[(found == reference) | (np.isnan(found) & np.isnan(reference))] = 0
        worst = float((gap / limit).max(initial=0))
    return worst if np.isfinite(worst) else np.inf


@dataclass(frozen=True)
class Match:
    """A blob and its tensor.

    Attributes:
        blob: the blob.
        layer: what makes it.
        tensor: its counterpart.
        axes: how the tensor's axes lie in the blob, see `arrange`.
        how: by what they were paired.
        same_shape: whether they have as many elements, and so can be compared.
        covers: types of the reference's operators that the layer stands for.
        behind: names of the layers before it that make intermediates, and that stand for them together with it.
    """

    blob: str
    layer: Layer
    tensor: str
    axes: tuple[int, ...] | None
    how: How
    same_shape: bool
    covers: tuple[str, ...]
    behind: tuple[str, ...] = ()


@dataclass
class Alignment:
    """What `align` found.

    Attributes:
        matches: by blob, in the order of the layers.
        intermediates: blobs without a counterpart, by whose values the network goes on to right ones.
        constants: blobs that depend on no input.
        failed: layers that could not be run.
    """

    matches: dict[str, Match] = field(default_factory=dict)
    intermediates: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass
class _State:
    """What is known of a blob while the layers are gone through."""

    value: Float | None
    anchors: frozenset[str]
    pending: Counter[str]
    noise: Float | None = None
    slack: float = 0.0
    origin: str = ""
    """The blob that is paired, where a Split shares its state; "" before it is."""
    behind: tuple[str, ...] = ()
    """Layers since the last tensors that are known."""


@dataclass(frozen=True)
class _Candidate:
    tensor: str
    axes: tuple[int, ...] | None
    excess: float
    path: int
    rank: tuple[float, ...]
    distance: float


_NONE: frozenset[str] = frozenset()


class _Aligner:
    def __init__(self, reference: Reference, param: Param, run: Run, tolerance: float) -> None:
        self.reference = reference
        self.graph = Graph(reference)
        self.param = param
        self.run = run
        self.tolerance = tolerance
        self.found = Alignment()
        self.outputs = self._outputs()
        self.states: dict[str, _State] = {}
        self.settled: dict[str, frozenset[str]] = {}
        """The anchors that paired blobs had before."""
        self.takers: dict[str, list[int]] = {}
        for i, layer in enumerate(param.layers):
            for blob in layer.inputs:
                self.takers.setdefault(blob, []).append(i)

    def go(self, inputs: Mapping[str, str]) -> Alignment:
        for blob, tensor in inputs.items():
            # Without an origin: an input cannot lack an operator, its reader does.
            self.states[blob] = _State(bare(self.reference.values[tensor]), frozenset({tensor}), Counter())
            maker = next((layer for layer in self.param.layers if blob in layer.outputs), None)
            layer = maker or Layer("Input", blob, (), (blob,), {})
            self.found.matches[blob] = Match(blob, layer, tensor, None, "input", True, ())
        for layer in self.param.layers:
            todo = [blob for blob in layer.outputs if blob not in self.states]
            if todo:
                self._layer(layer)
        return self.found

    def _outputs(self) -> dict[str, str]:
        """Which output of the network is which of the reference: by name where names are the same, else by order."""
        blobs, tensors = self.param.outputs(), self.reference.outputs
        if set(blobs) & set(tensors):
            return {blob: blob for blob in blobs if blob in tensors}
        # pnnx calls outputs out0, out1, ...; others are states of a recurrent layer, say, that nobody reads.
        named = sorted((b for b in blobs if re.fullmatch(r"out\d+", b)), key=lambda b: (len(b), b))
        blobs = tuple(named) or blobs
        return dict(zip(blobs, tensors, strict=True)) if len(blobs) == len(tensors) else {}

    def _layer(self, layer: Layer) -> None:
        states = [self.states.get(blob) for blob in layer.inputs]
        values = [s.value for s in states if s is not None and s.value is not None]
        anchors = frozenset().union(*(s.anchors for s in states if s))
        pending = self._pending(layer, states)
        behind = (*dict.fromkeys(name for s in states if s for name in s.behind), layer.name)
        result = self.run(layer, values) if len(values) == len(layer.inputs) else None
        if result is None:
            self.found.failed.append(layer.name)
        for i, blob in enumerate(layer.outputs):
            if result is None:
                state, here = _State(None, anchors, pending, behind=behind), None
            else:
                slack = result.slack + max((s.slack for s in states if s), default=0.0)
                here = Result((result.arrays[i],), result.noise if i == 0 else None, slack, result.least)
                state = _State(result.arrays[i], anchors, pending, here.noise, slack, behind=behind)
            self.states[blob] = state
            if not anchors:
                self.found.constants.append(blob)
            elif len(layer.outputs) > 1 and layer.type == "Split":
                self.states[blob] = self.states[layer.inputs[0]]
            else:
                self._pair(layer, blob, here, self.outputs.get(blob))

    def _pending(self, layer: Layer, states: Sequence[_State | None]) -> Counter[str]:
        """Counted families since the last tensors that are known."""
        pending = Counter[str]()
        for state in states:
            if state is not None:
                pending |= state.pending
        kind = family(layer.type)
        if kind in COUNTED:
            pending[kind] += 1
        return pending

    def _pair(self, layer: Layer, blob: str, result: Result | None, output: str | None) -> None:
        state = self.states[blob]
        if output is not None and output in self.graph.values:
            found = self._judge(layer, state, result, output)
            if found.excess > 1 and result is not None:
                found = self._repair(layer, blob, output) or found
            self._settle(layer, blob, found, "value" if found.excess <= 1 else "output")
            return
        if output is None and self.outputs and blob not in self.takers:
            self.found.intermediates.append(blob)  # nobody reads it
            return
        equal = self._equal(layer, state, result) if result is not None else None
        if equal is not None:
            self._settle(layer, blob, equal, "name" if equal.tensor == blob else "value")
            return
        if result is not None:
            repaired = self._repair(layer, blob)
            if repaired is not None:
                self._settle(layer, blob, repaired, "value")
                return
        candidates = self._candidates(layer, blob, state, result)
        own = np.inf if result is None else self._probe(blob, state, None)
        scored = [(self._probe(blob, state, c), c) for c in candidates]
        best = min(scored, key=lambda s: (max(s[0], 1.0), s[1].rank), default=None)
        if best is None:
            self.found.intermediates.append(blob)
            return
        score, candidate = best
        if own <= 1:
            # The network goes on rightly. Wrong it is only if it would with the candidate, too, and that one is near.
            exact = self.graph.op(candidate.tensor).rpartition("::")[2].lower().rstrip("_") == layer.type.lower()
            exact = exact or (family(layer.type) in COUNTED and candidate.rank[:2] == (0, 0))
            if score > 1 or not (candidate.distance <= 0.02 or exact):
                self.found.intermediates.append(blob)
                return
        elif own < 0.5 * score or (candidate.rank[0] > 0 and score > 1):
            self.found.intermediates.append(blob)
            return
        self._settle(layer, blob, candidate, "order")

    def _settle(self, layer: Layer, blob: str, found: _Candidate, how: How) -> None:
        """Pair a blob, and feed what reads it with the tensor."""
        state = self.states[blob]
        value = self.graph.values[found.tensor]
        same = state.value is not None and state.value.size == value.size
        if same and state.value is not None:
            feed = lay(value, found.axes, state.value.shape)
        else:
            feed = bare(value, None if state.value is None else state.value.ndim)
        self.settled[blob] = state.anchors
        self.states[blob] = _State(feed, frozenset({self.graph.root(found.tensor)}), Counter(), origin=blob)
        covers = self.graph.operators(found.path)
        self.found.matches[blob] = Match(blob, layer, found.tensor, found.axes, how, same, covers, state.behind[:-1])

    def _repair(self, layer: Layer, blob: str, output: str | None = None) -> _Candidate | None:
        """Try a layer with later tensors for its inputs; if one fits, what makes that input lacks an operator.

        Args:
            layer: the layer that fails.
            blob: what it makes.
            output: the tensor that it must make; None: any.

        Returns:
            What the layer's blob is then.
        """
        states = [self.states[b] for b in layer.inputs]
        for i, state in enumerate(states):
            match = self.found.matches.get(state.origin)
            if match is None or state.value is None or self._confirmed(state.origin):
                continue
            for tensor in self._later(match.tensor):
                feed = lay(self.graph.values[tensor], match.axes, state.value.shape)
                values = [feed if j == i else s.value for j, s in enumerate(states) if s.value is not None]
                result = self.run(layer, values) if len(values) == len(states) else None
                if result is None:
                    continue
                root = self.graph.root(tensor)
                anchors = frozenset({root}).union(*(s.anchors for j, s in enumerate(states) if j != i))
                after = _State(result.arrays[0], anchors, self._pending(layer, states))
                equal = self._equal(layer, after, result)
                if equal is None or not equal.path or output not in (None, equal.tensor):
                    continue
                if _flat(result.arrays[0]) or self.graph.root(equal.tensor) == root:
                    continue  # that it makes this tells nothing
                path = self.graph.path(self.settled[state.origin], tensor)
                covers = self.graph.operators(path or 0)
                self.found.matches[state.origin] = replace(match, tensor=tensor, how="order", covers=covers)
                state.value, state.anchors = feed, frozenset({root})
                self.states[blob].anchors = anchors
                self.states[blob].value = result.arrays[0]
                return equal
        return None

    def _later(self, tensor: str) -> list[str]:
        """Tensors that operators which a conversion may fuse make of one, nearest first."""
        size, anchors, root = self.graph.values[tensor].size, frozenset({tensor}), self.graph.root(tensor)
        later = []
        for other in self.graph.by_size.get(size, ()):
            path = self.graph.path(anchors, other)
            if path and not self.graph.counted(path) and self.graph.root(other) != root:
                later.append(other)
        return later[:_LATER]

    def _confirmed(self, blob: str) -> bool:
        """Whether a layer has made a right tensor of a blob already."""
        queue = [blob]
        while queue:
            for i in self.takers.get(queue.pop(), ()):
                layer = self.param.layers[i]
                if layer.type == "Split":
                    queue += layer.outputs
                elif any(b in self.found.matches and self.found.matches[b].how != "order" for b in layer.outputs):
                    return True
        return False

    # Comparing one blob with tensors

    def _judge(self, layer: Layer, state: _State, result: Result | None, tensor: str) -> _Candidate:
        """A blob against one tensor, in the layout that fits best."""
        value = self.graph.values[tensor]
        path = self.graph.path(state.anchors, tensor)
        kinds = self.graph.counted(path) if path is not None else Counter[str]()
        misfit = sum(((kinds - state.pending) + (state.pending - kinds)).values()) + (3 if path is None else 0)
        end = int(family(self.graph.op(tensor)) not in _ends(layer))
        best: tuple[float, float, tuple[int, ...] | None] = (np.inf, 2.0, None)
        if result is not None:
            found = result.arrays[0]
            for axes, laid in arrange(value, found.shape):
                error = excess(found, laid, allowed(result, laid, self.tolerance))
                if best[1] > 1 or error < best[0]:
                    best = (error, _distance(sample(found), sample(laid)), axes)
                if error <= 1:
                    break
            if best[1] > 1:
                misfit += 3  # another size
        rank = (misfit, end, round(best[0], 2) if best[0] <= 1 else 1 + best[1], self.graph.order[tensor])
        return _Candidate(tensor, best[2], best[0], path or 0, rank, best[1])

    def _equal(self, layer: Layer, state: _State, result: Result) -> _Candidate | None:
        """The tensor that a blob equals; of several the one that the layer most likely stands for."""
        found = result.arrays[0]
        sampled = sample(found)
        noise = None if result.noise is None else sample(result.noise)
        equal = []
        for tensor in self.graph.by_size.get(found.size, ()):
            limit = (self.tolerance + result.slack) * max(self.graph.span(tensor), result.least)
            gap = np.abs(sampled - self.graph.sample(tensor))
            inside = bool((gap <= (limit if noise is None else limit + SIGMAS * noise)).all())
            reached = self.graph.path(state.anchors, tensor) is not None
            if inside or (reached and self._permutes(tensor, found)):
                judged = self._judge(layer, state, result, tensor)
                if judged.excess <= 1 and (reached or not _flat(found)):
                    equal.append(judged)
        return min(equal, key=lambda c: c.rank, default=None)

    def _permutes(self, tensor: str, found: Float) -> bool:
        """Whether a tensor with permuted axes could lie in a blob; sorted values tell cheaply."""
        value = self.graph.values[tensor]
        if sum(n > 1 for n in value.shape) < 2 or sum(n > 1 for n in found.shape) < 2:
            return False
        close = 1e-3 * self.graph.span(tensor)
        total, other = float(value.sum(dtype=np.float64)), float(found.sum(dtype=np.float64))
        return abs(total - other) <= close * found.size and next(
            (True for axes, _ in arrange(value, found.shape) if axes is not None), False
        )

    def _candidates(self, layer: Layer, blob: str, state: _State, result: Result | None) -> list[_Candidate]:
        """Tensors that a blob which equals none may stand for, the likeliest first."""
        judged = []
        for tensor in self.graph.values:
            if self.graph.path(state.anchors, tensor) is None:
                continue
            candidate = self._judge(layer, state, result, tensor)
            if candidate.rank[0] <= 3:
                judged.append(candidate)
        judged.sort(key=lambda c: (c.tensor != blob, c.rank))
        anchors = [c for c in judged if c.path == 0][:1]  # the layer may be one too many
        return [c for c in judged if c.path][:_CANDIDATES] + anchors

    # Judging by what comes after

    def _probe(self, blob: str, state: _State, candidate: _Candidate | None) -> float:
        """How near the layers behind a blob come to tensors of the reference, fed with its own values or a candidate's.

        Returns:
            The smallest excess among them; infinite where there are none.
        """
        if candidate is None:
            states = {blob: state}
            root = None
        else:
            value = self.graph.values[candidate.tensor]
            if state.value is not None and state.value.size == value.size:
                feed = lay(value, candidate.axes, state.value.shape)
            else:
                feed = bare(value, None if state.value is None else state.value.ndim)
            root = self.graph.root(candidate.tensor)
            states = {blob: _State(feed, frozenset({root}), Counter())}
        best = np.inf
        queue = sorted(self.takers.get(blob, ()))
        probed = 0
        while queue and probed < _PROBED:
            index = queue.pop(0)
            layer = self.param.layers[index]
            inputs = [states.get(b) or self.states.get(b) for b in layer.inputs]
            values = [s.value for s in inputs if s is not None and s.value is not None]
            if len(values) < len(layer.inputs):
                continue
            if layer.type == "Split":
                states.update(dict.fromkeys(layer.outputs, inputs[0]))  # type: ignore[arg-type]
            else:
                probed += 1
                result = self.run(layer, values)
                if result is None:
                    continue
                anchors = frozenset().union(*(s.anchors for s in inputs if s))
                after = _State(result.arrays[0], anchors, self._pending(layer, inputs))
                nearest = self._nearest(layer, after, result, root)
                best = min(best, nearest)
                if nearest <= 1:
                    continue
                states[layer.outputs[0]] = after
            known = [i for b in layer.outputs if b in states for i in self.takers.get(b, ())]
            queue = sorted({*queue, *known})
        return best

    def _nearest(self, layer: Layer, state: _State, result: Result, root: str | None) -> float:
        """The smallest excess of a blob over tensors that it may stand for, `root` and its copies left out."""
        if _flat(result.arrays[0]):
            return np.inf
        found = result.arrays[0]
        sampled = sample(found)
        noise = 0.0 if result.noise is None else SIGMAS * sample(result.noise)
        best = np.inf
        for tensor in self.graph.by_size.get(found.size, ()):
            path = self.graph.path(state.anchors, tensor)
            if path and self.graph.root(tensor) != root:
                limit = (self.tolerance + result.slack) * max(self.graph.span(tensor), result.least) + noise
                error = excess(sampled, self.graph.sample(tensor), limit)
                if error <= 1 or self._permutes(tensor, found):
                    error = self._judge(layer, state, result, tensor).excess
                best = min(best, error)
        return best


def _distance(a: Float, b: Float) -> float:
    """Between two samples, by their lengths: 0 where they are the same, at most 1."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = float(np.linalg.norm(x) + np.linalg.norm(y))
    distance = float(np.linalg.norm(x - y)) / lengths if lengths > 0 else 0.0
    return distance if np.isfinite(distance) else 1.0


def _flat(value: Array) -> bool:
    """Whether all values are the same, so that being equal tells nothing."""
    return value.size < 2 or float(value.max()) == float(value.min())


def align(
    reference: Reference, param: Param, run: Run, inputs: Mapping[str, str], *, tolerance: float = 1e-4
) -> Alignment:
    """Pair the blobs of a network with the tensors of its reference.

    Args:
        reference: the reference and its values.
        param: the network.
        run: runs one of its layers.
        inputs: the network's input blobs and the reference's tensors that they are.
        tolerance: difference that is not counted as one, as a part of a tensor's range.
    """
    with np.errstate(all="ignore"):  # layers that are tried on wrong values may overflow
        return _Aligner(reference, param, run, tolerance).go(inputs)
