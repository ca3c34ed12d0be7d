"""An ONNX graph, node by node, and the recurrences as ONNX scans."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
from torch import Tensor

from dmnplus.data.example import DataError

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    raise DataError("export to ONNX needs the package onnx: pip install 'dmnplus[onnx]'") from None

# Old enough for runtimes of 2022, and new enough for all that the network takes.
OPSET = 17
_IR_VERSION = 8


class Graph:
    """Nodes and constants under names that are given as they come; the bodies of scans share the names."""

    def __init__(self, outer: Graph | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        # A body reads constants from the graph around it.
        self.constants: dict[str, onnx.TensorProto] = outer.constants if outer else {}
        self._numbers = outer._numbers if outer else count(1)

    def name(self, kind: str) -> str:
        return f"{kind}_{next(self._numbers)}"

    def constant(self, value: Any, kind: str = "constant") -> str:
        """A number, a list of whole numbers, an array, or a parameter of the network."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = self.name(kind)
        self.constants[name] = numpy_helper.from_array(array.copy(order="C"), name)
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """The output of a new node, or a tuple of them."""
        names = [self.name(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def linear(self, x: str, weight: Tensor, bias: Tensor | None = None) -> str:
        """x weight' + bias over the last axis."""
        y = self.op("MatMul", x, self.constant(weight.T, "weight"))
        return y if bias is None else self.op("Add", y, self.constant(bias, "bias"))

    def size(self, x: str, axis: int) -> str:
        """The length of an axis, [1]."""
        return self.op("Shape", x, start=axis, end=axis + 1)

    def shape(self, *parts: str | int) -> str:
        """A shape of lengths that are known, -1 for what is left, and of others' (see `size`)."""
        return self.op("Concat", *(self.constant([p]) if isinstance(p, int) else p for p in parts), axis=0)

    def reshape(self, x: str, *parts: str | int) -> str:
        return self.op("Reshape", x, self.shape(*parts))

    def fill(self, value: float, *parts: str | int) -> str:
        """A tensor of one value, of single precision unless it is a whole number or a truth."""
        one = np.array([value], np.float32 if isinstance(value, float) else None)
        return self.op("ConstantOfShape", self.shape(*parts), value=numpy_helper.from_array(one))

    def unsqueeze(self, x: str, axis: int) -> str:
        return self.op("Unsqueeze", x, self.constant([axis]))

    def squeeze(self, x: str, axis: int) -> str:
        return self.op("Squeeze", x, self.constant([axis]))

    def numbers(self, first: int, length: str) -> str:
        """first, first + 1, ... as many as `length` ([1]) says."""
        start = self.constant(first)
        return self.op("Range", start, self.op("Add", self.squeeze(length, 0), start), self.constant(1))

    def scan(
        self, body: Graph, states: dict[str, str], steps: dict[str, str], results: list[str], **options: Any
    ) -> Any:
        """Run `body` over axis 1 of the values of `steps`; returns the last states, then what each step put out.

        The keys of `states` and `steps` are what the body calls them. `results` are the body's new states, then its
        outputs, which are stacked on axis 1. `backwards` runs from the last step to the first.
        """
        backwards = int(options.pop("backwards", False))
        put_out = len(results) - len(states)
        inputs = [helper.make_tensor_value_info(n, options.get(n, TensorProto.FLOAT), None) for n in (*states, *steps)]
        outputs = [helper.make_tensor_value_info(n, options.get(n, TensorProto.FLOAT), None) for n in results]
        attributes: dict[str, Any] = {
            "body": helper.make_graph(body.nodes, self.name("body"), inputs, outputs),
            "num_scan_inputs": len(steps),
            "scan_input_axes": [1] * len(steps),
            "scan_input_directions": [backwards] * len(steps),
        }
        if put_out:
            attributes |= {"scan_output_axes": [1] * put_out, "scan_output_directions": [backwards] * put_out}
        return self.op("Scan", *states.values(), *steps.values(), outputs=len(results), **attributes)

    def model(
        self, inputs: list[onnx.ValueInfoProto], outputs: dict[str, onnx.ValueInfoProto], metadata: dict[str, str]
    ) -> onnx.ModelProto:
        """The whole as a checked model; `outputs` are what the values that are its keys are called outside."""
        for value, output in outputs.items():
            self.nodes.append(helper.make_node("Identity", [value], [output.name]))
        graph = helper.make_graph(self.nodes, "dmnplus", inputs, [*outputs.values()], [*self.constants.values()])
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="dmnplus"
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model


def declare(name: str, kind: str, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
    """An input or output of a model: INT64, FLOAT or BOOL, with a name for each length that is free."""
    return helper.make_tensor_value_info(name, TensorProto.DataType.Value(kind), shape)


def gru(g: Graph, x_GBF3H: list[str], weight_G3HH: Tensor, mask_BF1: str, reverse: tuple[bool, ...]) -> list[str]:
    """States [B, F, H] of each direction (see `dmnplus.kernels.gru`)."""
    states = []
    for x_BF3H, weight_3HH, backwards in zip(x_GBF3H, weight_G3HH, reverse, strict=True):
        body = Graph(g)
        h, x, real = (g.name(part) for part in ("h", "x", "real"))
        x_u, x_r, x_h = body.op("Split", x, outputs=3, axis=-1)
        u_u, u_r, u_h = body.op("Split", body.linear(h, weight_3HH), outputs=3, axis=-1)
        u = body.op("Sigmoid", body.op("Add", x_u, u_u))
        r = body.op("Sigmoid", body.op("Add", x_r, u_r))
        candidate = body.op("Tanh", body.op("Add", x_h, body.op("Mul", r, u_h)))
        new = body.op("Where", real, mix(body, u, candidate, h), h)
        put_out = body.op("Identity", new)
        options = {real: TensorProto.BOOL, "backwards": backwards}
        zero = g.fill(0.0, g.size(x_BF3H, 0), weight_3HH.shape[1])
        _, states_BFH = g.scan(body, {h: zero}, {x: x_BF3H, real: mask_BF1}, [new, put_out], **options)
        states.append(states_BFH)
    return states


def attention_gru(g: Graph, x_BF2H: str, weight_2HH: Tensor, gate_BF: str, mask_BF1: str) -> str:
    """Context [B, H], the last state (see `dmnplus.kernels.attention_gru`)."""
    body = Graph(g)
    h, x, gate, real = (g.name(part) for part in ("h", "x", "gate", "real"))
    x_r, x_h = body.op("Split", x, outputs=2, axis=-1)
    u_r, u_h = body.op("Split", body.linear(h, weight_2HH), outputs=2, axis=-1)
    r = body.op("Sigmoid", body.op("Add", x_r, u_r))
    candidate = body.op("Tanh", body.op("Add", x_h, body.op("Mul", r, u_h)))
    new = body.op("Where", real, mix(body, gate, candidate, h), h)
    zero = g.fill(0.0, g.size(x_BF2H, 0), weight_2HH.shape[1])
    steps = {x: x_BF2H, gate: g.unsqueeze(gate_BF, 2), real: mask_BF1}
    return g.scan(body, {h: zero}, steps, [new], **{real: TensorProto.BOOL})


def mix(g: Graph, share: str, one: str, other: str) -> str:
    """share o one + (1 - share) o other."""
    rest = g.op("Sub", g.constant(1.0), share)
    return g.op("Add", g.op("Mul", share, one), g.op("Mul", rest, other))
