"""The network as an ONNX graph, module by module, with the weights of a trained one.

Shape legend: S distinct sentences, W words, N regions of pictures, I pictures, R regions of one, B batch, F facts,
Q question words, P passes, H hidden, K = 2H, M placeholders of names, A answers, L answer words, V answer vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from torch import nn

from dmnplus.export.graph import Graph, TensorProto, attention_gru, gru, mix
from dmnplus.model import DMN
from dmnplus.model.answer import ClassAnswer, WordAnswer
from dmnplus.model.ensemble import Ensemble
from dmnplus.model.episodic_memory import (
    NO_GATE,
    AttentionGate,
    AttentionGRU,
    EpisodicMemory,
    GateFeatures,
    GRUUpdate,
    ProductUpdate,
    ReLUUpdate,
    ResidualUpdate,
    SumAndMean,
)
from dmnplus.model.gru import GRU
from dmnplus.model.image_input import PixelReader, RegionReader, SeriesChanges
from dmnplus.model.mutual_memory import ContextUpdate, MutualMemory, SimilarityGate
from dmnplus.model.text_input import OrderedEncoding, PositionEncoding, SentenceReader, WordGRU


@dataclass(frozen=True)
class Inputs:
    """Names of the graph's inputs; `Batch` says what they hold. The last three are those of some models only."""

    sentences: str = "sentences"
    facts: str = "facts"
    mask: str = "mask"
    question: str = "question"
    pictures: str = "pictures"
    places: str = "places"
    names: str = "names"


def network(g: Graph, model: DMN, names: int) -> tuple[str, str]:
    """Logits [B, A] ([B, L, V] of a decoder of words, greedy), and attention [P, B, F]; see `DMN.forward`.

    `names` is the number of placeholders of names; 0 where names are not made anonymous.
    """
    inputs = Inputs()
    qm_BK, attention_PBF = _read(g, model, inputs)
    allowed = _allowed(g, model, inputs.names, names) if names else None
    if isinstance(model.answer, WordAnswer):
        return _say(g, model.answer, qm_BK, allowed), attention_PBF
    logits = g.linear(qm_BK, cast(ClassAnswer, model.answer).weight, model.answer.bias)
    return _bar(g, logits, allowed), attention_PBF


def _read(g: Graph, model: DMN, inputs: Inputs) -> tuple[str, str]:
    """The answer's input [B, K], and attention [P, B, F]; see `DMN.read`."""
    if isinstance(model, Ensemble):
        inputs_BK, attentions = zip(*[_read(g, member, inputs) for member in model.networks()], strict=True)
        return g.op("Concat", *inputs_BK, axis=-1), g.op("Mean", *attentions)
    H = model.config.hidden
    embedding = g.constant(model.embedding.weight, "embedding")
    mask_BF1 = g.unsqueeze(inputs.mask, 2)
    words_SWH = g.op("Gather", embedding, inputs.sentences)
    word_mask_SW = _is_word(g, inputs.sentences)
    regions_NH = None if model.pictures is None else g.reshape(_regions(g, model, inputs.pictures), -1, H)
    if isinstance(model.reader, WordGRU):
        facts_BFH = _word_gru(g, model.reader, words_SWH, word_mask_SW, regions_NH, inputs, H)
    else:
        vectors = _encode(g, model.reader, words_SWH, word_mask_SW)
        vectors = vectors if regions_NH is None else g.op("Concat", vectors, regions_NH, axis=0)
        facts_BFH = g.op("Gather", vectors, inputs.facts)
    if model.pictures is not None:
        if model.changes is not None:
            facts_BFH = _series_changes(g, model.changes, facts_BFH, inputs.places)
        series = model.series.weight
        place = g.op("Min", inputs.places, g.constant(len(series) - 1))
        facts_BFH = g.op("Add", facts_BFH, g.op("Gather", g.constant(series, "series"), place))
    if model.fusion is not None:
        states = _gru(g, model.fusion.gru, facts_BFH, mask_BF1)
        fused = g.op("Add", *states) if len(states) == 2 else states[0]
        facts_BFH = g.op("Add", facts_BFH, fused) if model.question is None else fused
    q = _question(g, model, g.op("Gather", embedding, inputs.question), _is_word(g, inputs.question))
    if isinstance(model.memory, MutualMemory):
        m, attention_PBF = _mutual_memory(g, model.memory, facts_BFH, q)
    else:
        m, attention_PBF = _memory(g, model.memory, facts_BFH, q, mask_BF1)
    return g.op("Concat", q if model.config.answer_question else _zeros(g, q, H), m, axis=-1), attention_PBF


def _is_word(g: Graph, ids: str) -> str:
    return g.op("Greater", ids, g.constant(0))


def _gru(g: Graph, module: GRU, x_BFI: str, mask_BF1: str) -> list[str]:
    """States [B, F, H] of every direction."""
    x_GBF3H = [g.linear(x_BFI, w, b) for w, b in zip(module.input_weight, module.input_bias, strict=True)]
    return gru(g, x_GBF3H, module.recurrent_weight, mask_BF1, module.reverse)


def _zeros(g: Graph, x_BH: str, hidden: int) -> str:
    return g.fill(0.0, g.size(x_BH, 0), hidden)


def _question(g: Graph, model: DMN, words_BQH: str, mask_BQ: str) -> str:
    if model.question is None:
        return _encode(g, cast(SentenceReader, model.reader), words_BQH, mask_BQ)
    [states_BQH] = _gru(g, model.question.gru, words_BQH, g.unsqueeze(mask_BQ, 2))
    return g.op("Gather", states_BQH, g.constant(-1), axis=1)


def _encode(g: Graph, reader: SentenceReader, words_SWH: str, mask_SW: str) -> str:
    """One vector a sentence, [S, H]."""
    encoded = _position_encoding(g, words_SWH, mask_SW)
    assert isinstance(reader.encode, PositionEncoding | OrderedEncoding)
    if (scale := reader.encode.scale) != 1:
        encoded = g.op("Mul", encoded, g.constant(scale))
    if not isinstance(reader.encode, OrderedEncoding):
        return encoded
    forwards, backwards = _gru(g, reader.encode.gru, words_SWH, g.unsqueeze(mask_SW, 2))
    ends = g.op("Gather", forwards, g.constant(-1), axis=1), g.op("Gather", backwards, g.constant(0), axis=1)
    return g.op("Add", encoded, g.op("Add", *ends))


def _position_encoding(g: Graph, words_SWH: str, mask_SW: str) -> str:
    real_SW = g.op("Cast", mask_SW, to=TensorProto.FLOAT)
    M_S1 = g.op("Max", g.op("ReduceSum", real_SW, g.constant([1]), keepdims=1), g.constant(1.0))
    j_W = g.op("Cast", g.numbers(1, g.size(words_SWH, 1)), to=TensorProto.FLOAT)
    place_SW = g.op("Div", j_W, M_S1)
    by_place = g.op("Mul", g.op("Sub", g.constant(1.0), place_SW), real_SW)
    by_index = g.op("Mul", g.op("Sub", g.constant(1.0), g.op("Mul", g.constant(2.0), place_SW)), real_SW)
    D = g.size(words_SWH, 2)
    d_D = g.op("Div", g.op("Cast", g.numbers(1, D), to=TensorProto.FLOAT), g.op("Cast", D, to=TensorProto.FLOAT))
    sums = [g.squeeze(g.op("MatMul", g.unsqueeze(part, 1), words_SWH), 1) for part in (by_place, by_index)]
    return g.op("Sub", sums[0], g.op("Mul", d_D, sums[1]))


def _word_gru(
    g: Graph, module: WordGRU, words_SWH: str, mask_SW: str, regions_NH: str | None, inputs: Inputs, hidden: int
) -> str:
    W = g.size(words_SWH, 1)
    if regions_NH is not None:
        # A region reads as a sentence of one word.
        N = g.size(regions_NH, 0)
        rest = g.fill(0.0, N, g.op("Sub", W, g.constant([1])), hidden)
        words_SWH = g.op("Concat", words_SWH, g.op("Concat", g.unsqueeze(regions_NH, 1), rest, axis=1), axis=0)
        first_W = g.op("Less", g.numbers(0, W), g.constant(1))
        mask_SW = g.op("Concat", mask_SW, g.op("Expand", first_W, g.shape(N, W)), axis=0)
    B, F = g.size(inputs.facts, 0), g.size(inputs.facts, 1)
    x = g.reshape(g.op("Gather", words_SWH, inputs.facts), B, -1, hidden)
    mask_BFW = g.op("And", g.op("Gather", mask_SW, inputs.facts), g.unsqueeze(inputs.mask, 2))
    [states] = _gru(g, module.gru, x, g.reshape(mask_BFW, B, -1, 1))
    return g.op("Gather", g.reshape(states, B, F, W, hidden), g.constant(-1), axis=2)


def _regions(g: Graph, model: DMN, pictures: str) -> str:
    """Regions of every picture in snake order, [I, R, H]."""
    reader = cast(RegionReader, model.regions)
    if isinstance(model.pixels, PixelReader):
        pictures = _pixels(g, model.pixels, pictures)
    channels = reader.weight.shape[1]
    regions_IRC = g.reshape(pictures, g.size(pictures, 0), len(reader.snake), channels)
    regions_IRC = g.op("Gather", regions_IRC, g.constant(reader.snake), axis=1)
    if reader.norm:
        square = g.op("ReduceMean", g.op("Mul", regions_IRC, regions_IRC), axes=[-1], keepdims=1)
        root = g.op("Sqrt", g.op("Add", square, g.constant(np.finfo(np.float32).eps)))
        regions_IRC = g.op("Div", regions_IRC, root)
    regions_IRH = g.op("Tanh", g.linear(regions_IRC, reader.weight, reader.bias))
    return regions_IRH if reader.places_RH is None else g.op("Add", regions_IRH, g.constant(reader.places_RH))


def _series_changes(g: Graph, module: SeriesChanges, f_BFH: str, places_BF: str) -> str:
    is_region = g.op("Greater", places_BF, g.constant(0))
    counted = g.op("Cast", is_region, to=TensorProto.INT64)
    number = g.op("Sub", g.op("CumSum", counted, g.constant(1)), g.constant(1))
    F, regions = g.size(places_BF, 1), g.op("ReduceSum", counted, g.constant([1]), keepdims=1)
    # The regions of a question, then its sentences, each in order: of equals TopK takes the first.
    _, facts_of = g.op("TopK", g.op("Cast", is_region, to=TensorProto.FLOAT), F, axis=1, outputs=2)
    differences = []
    for distance in (-module.distance, module.distance):
        other = g.op("Add", number, g.constant(distance))
        not_before = g.op("GreaterOrEqual", other, g.constant(0))
        there = g.op("And", g.op("And", is_region, not_before), g.op("Less", other, regions))
        inside = g.op("Min", g.op("Max", other, g.constant(0)), g.op("Sub", F, g.constant(1)))
        fact = g.unsqueeze(g.op("GatherElements", facts_of, inside, axis=1), 2)
        other_BFH = g.op("GatherElements", f_BFH, g.op("Expand", fact, g.op("Shape", f_BFH)), axis=1)
        real = g.unsqueeze(g.op("Cast", there, to=TensorProto.FLOAT), 2)
        differences.append(g.op("Mul", g.op("Sub", f_BFH, other_BFH), real))
    change = g.op("Tanh", g.linear(g.op("Concat", *differences, axis=-1), module.weight))
    return g.op("Add", f_BFH, change)


def _pixels(g: Graph, reader: PixelReader, pixels_ICSS: str) -> str:
    x = g.op("Sub", pixels_ICSS, g.constant(0.5))
    for layer in reader.layers:
        match layer:
            case nn.Conv2d():
                assert layer.bias is not None
                weights = g.constant(layer.weight, "weight"), g.constant(layer.bias, "bias")
                x = g.op("Conv", x, *weights, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
            case nn.GroupNorm():
                x = _group_norm(g, layer, x)
            case nn.ReLU():
                x = g.op("Relu", x)
            case _:
                raise NotImplementedError(type(layer))
    return g.op("Transpose", x, perm=[0, 2, 3, 1])


def _group_norm(g: Graph, layer: nn.GroupNorm, x: str) -> str:
    # ONNX's own operator for it came later and changed; a group is an instance of one channel.
    groups = g.reshape(x, g.size(x, 0), layer.num_groups, -1)
    one, zero = (g.constant(np.full(layer.num_groups, value, np.float32)) for value in (1, 0))
    normal = g.op("Reshape", g.op("InstanceNormalization", groups, one, zero, epsilon=layer.eps), g.op("Shape", x))
    scaled = g.op("Mul", normal, g.constant(layer.weight[:, None, None]))
    return g.op("Add", scaled, g.constant(layer.bias[:, None, None]))


def _memory(g: Graph, memory: EpisodicMemory, f_BFH: str, q: str, mask_BF1: str) -> tuple[str, str]:
    gate, episode, m = memory.gate, memory.episode, q
    q_update = q if memory.update_question else _zeros(g, q, len(gate.b1))
    question_half = _question_half(g, gate, f_BFH, q)
    projected = (
        g.linear(f_BFH, episode.input_weight, episode.input_bias) if isinstance(episode, AttentionGRU) else f_BFH
    )
    attention = []
    for t in range(memory.passes):
        g_BF = _gate(g, gate, f_BFH, question_half, m)
        if isinstance(episode, AttentionGRU):
            c = attention_gru(g, projected, episode.recurrent_weight, g_BF, mask_BF1)
        else:
            c = _weighted_sum(g, g_BF, f_BFH)
        shares_BF = _shares(g, g_BF) if gate.independent else g_BF
        if isinstance(episode, SumAndMean):
            c = g.linear(g.op("Concat", c, _weighted_sum(g, shares_BF, f_BFH), axis=-1), episode.W)
        m = _update(g, memory.updates[t % len(memory.updates)], m, c, q_update)
        attention.append(g.unsqueeze(shares_BF, 0))
    return m, g.op("Concat", *attention, axis=0)


def _weighted_sum(g: Graph, g_BF: str, f_BFH: str) -> str:
    return g.squeeze(g.op("MatMul", g.unsqueeze(g_BF, 1), f_BFH), 1)


def _question_half(g: Graph, gate: AttentionGate, f_BFH: str, q: str) -> str:
    if gate.W1_question is None:
        return g.constant(gate.b1, "bias")
    z = [_features(g, gate.question_features, f_BFH, q)] if gate.question_features else []
    z_BFK = g.op("Concat", *z, *([f_BFH] if gate.with_fact else []), axis=-1)
    return g.linear(z_BFK, gate.W1_question, gate.b1)


def _gate(g: Graph, gate: AttentionGate, f_BFH: str, half: str, m: str) -> str:
    if gate.memory_features is not None and gate.W1_memory is not None:
        half = g.op("Add", half, g.linear(_features(g, gate.memory_features, f_BFH, m), gate.W1_memory))
    hidden = g.op("Tanh", half)
    Z_BF = g.squeeze(g.linear(hidden, gate.W2, gate.b2), 2)
    Z_BF = g.op("Where", Inputs.mask, Z_BF, g.constant(-np.inf))
    if not gate.independent:
        return g.op("Softmax", Z_BF, axis=-1)
    # Not Sigmoid, which onnxruntime makes zero below -18: shares of gates that are nearly closed would be of nothing.
    return g.op("Div", g.constant(1.0), g.op("Add", g.constant(1.0), g.op("Exp", g.op("Neg", Z_BF))))


def _shares(g: Graph, g_BF: str) -> str:
    """Independent gates as attention, which sums to one."""
    total = g.op("ReduceSum", g_BF, g.constant([1]), keepdims=1)
    return g.op("Div", g_BF, g.op("Max", total, g.constant(NO_GATE)))


def _features(g: Graph, features: GateFeatures, f_BFH: str, x_BH: str) -> str:
    x = g.unsqueeze(x_BH, 1)
    parts = []
    for name in features.names:
        match name:
            case "product":
                part = g.op("Mul", f_BFH, x)
            case "absolute":
                part = g.op("Abs", g.op("Sub", f_BFH, x))
            case "squared":
                difference = g.op("Sub", f_BFH, x)
                part = g.op("Mul", difference, difference)
            case "plain":
                part = g.op("Expand", x, g.op("Shape", f_BFH))
            case "cosine":
                part = g.op("ReduceSum", g.op("Mul", _unit(g, f_BFH), _unit(g, x)), g.constant([-1]), keepdims=1)
            case "bilinear":
                x_BH1 = g.op("Transpose", g.linear(x, features.bilinear.weight), perm=[0, 2, 1])
                part = g.op("MatMul", f_BFH, x_BH1)
            case _:
                raise NotImplementedError(f"the gate's feature {name}")
        parts.append(part)
    return g.op("Concat", *parts, axis=-1)


def _unit(g: Graph, x: str) -> str:
    length = g.op("ReduceL2", x, axes=[-1], keepdims=1)
    return g.op("Div", x, g.op("Max", length, g.constant(1e-8)))


def _update(g: Graph, update: nn.Module, m: str, c: str, q: str) -> str:
    match update:
        case ReLUUpdate():
            new = g.op("Relu", g.linear(g.op("Concat", m, c, q, axis=-1), update.W, update.b))
            return g.op("Add", m, new) if isinstance(update, ResidualUpdate) else new
        case ProductUpdate():
            x = g.op("Concat", m, c, q, axis=-1)
            products = g.op("Mul", g.linear(x, update.U), g.linear(x, update.V))
            return g.op("Relu", g.op("Add", g.linear(x, update.W, update.b), products))
        case GRUUpdate():
            x_u, x_r, x_h = g.op("Split", g.linear(c, update.input_weight, update.bias), outputs=3, axis=-1)
            u_u, u_r, u_h = g.op("Split", g.linear(m, update.recurrent_weight), outputs=3, axis=-1)
            u = g.op("Sigmoid", g.op("Add", x_u, u_u))
            r = g.op("Sigmoid", g.op("Add", x_r, u_r))
            candidate = g.op("Tanh", g.op("Add", x_h, g.op("Mul", r, u_h)))
            return mix(g, u, candidate, m)
    raise NotImplementedError(f"the memory update {type(update).__name__}")


def _mutual_memory(g: Graph, memory: MutualMemory, f_BFH: str, q: str) -> tuple[str, str]:
    F = g.size(f_BFH, 1)
    rows = g.unsqueeze(g.numbers(0, g.op("Add", F, g.constant([1]))), 1)
    itself_RF = g.op("Equal", rows, g.unsqueeze(g.numbers(0, F), 0))
    mask_B1F = g.unsqueeze(Inputs.mask, 1)
    x = _norm(g, g.op("Concat", f_BFH, g.unsqueeze(q, 1), axis=1), memory)
    attention = []
    for t in range(memory.passes):
        gate = cast(SimilarityGate, memory.gates[t % len(memory.gates)])
        update = cast(ContextUpdate, memory.updates[t % len(memory.updates)])
        normed = _norm(g, x, memory)
        facts = g.op("Slice", normed, g.constant([0]), F, g.constant([1]))
        asked = g.linear(normed, (gate.W * gate.scale).T)
        Z_BRF = g.op("MatMul", asked, g.op("Transpose", facts, perm=[0, 2, 1]))
        Z_BRF = g.op("Where", itself_RF, g.constant(-1e9), Z_BRF)
        g_BRF = g.op("Softmax", g.op("Where", mask_B1F, Z_BRF, g.constant(-np.inf)), axis=-1)
        x = g.op("Add", x, g.linear(g.op("MatMul", g_BRF, facts), update.V))
        inside = g.op("Relu", g.linear(_norm(g, x, memory), update.W1, update.b1))
        x = g.op("Add", x, g.linear(inside, update.W2, update.b2))
        attention.append(g.unsqueeze(g.op("Gather", g_BRF, g.constant(-1), axis=1), 0))
    return g.op("Gather", x, g.constant(-1), axis=1), g.op("Concat", *attention, axis=0)


def _norm(g: Graph, x_BRH: str, memory: MutualMemory) -> str:
    hidden = len(cast(SimilarityGate, memory.gates[0]).W)
    return g.op("LayerNormalization", x_BRH, g.constant(np.ones(hidden, np.float32)), axis=-1, epsilon=1e-5)


def _allowed(g: Graph, model: DMN, names_BM: str, names: int) -> str:
    """Which of the answers, or of their words, a question may have: all, but of the names only those in its story."""
    by_word = isinstance(model.answer, WordAnswer)
    B, total = g.size(names_BM, 0), model.answer.weight.shape[0]
    # A decoder's first word is the end of an answer.
    before, after = int(by_word), total - names - int(by_word)
    return g.op("Concat", g.fill(True, B, before), names_BM, g.fill(True, B, after), axis=1)


def _bar(g: Graph, logits: str, allowed: str | None) -> str:
    return logits if allowed is None else g.op("Where", allowed, logits, g.constant(-np.inf))


def _say(g: Graph, answer: WordAnswer, qm_BK: str, allowed: str | None) -> str:
    """Logits [B, L, V] of each word of the answer, given the most probable ones before it."""
    embedding = g.constant(answer.embedding, "embedding")
    cell, h, logits = answer.cell, qm_BK, []
    # Word 0 is the end of an answer; as an input it stands for its beginning.
    word = g.fill(0, g.size(qm_BK, 0))
    for _ in range(WordAnswer.LONGEST):
        x = g.op("Gather", embedding, word)
        h = _cell(g, cell, x, h)
        step = _bar(g, g.linear(h, answer.weight, answer.bias), allowed)
        word = g.op("ArgMax", step, axis=-1, keepdims=0)
        logits.append(g.unsqueeze(step, 1))
    return g.op("Concat", *logits, axis=1)


def _cell(g: Graph, cell: nn.GRUCell, x: str, h: str) -> str:
    """PyTorch's own GRU cell: reset, update, candidate, and an update gate that keeps the old state."""
    x_r, x_z, x_n = g.op("Split", g.linear(x, cell.weight_ih, cell.bias_ih), outputs=3, axis=-1)
    h_r, h_z, h_n = g.op("Split", g.linear(h, cell.weight_hh, cell.bias_hh), outputs=3, axis=-1)
    r = g.op("Sigmoid", g.op("Add", x_r, h_r))
    z = g.op("Sigmoid", g.op("Add", x_z, h_z))
    new = g.op("Tanh", g.op("Add", x_n, g.op("Mul", r, h_n)))
    return mix(g, z, h, new)
