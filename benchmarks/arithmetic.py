"""The arithmetic that a DMN+ cannot do without: what the share of the limit is counted against."""

from __future__ import annotations

from benchmarks.workload import ANSWERS, QUESTION_WORDS, Shape


def forward_operations(shape: Shape) -> int:
    """Floating-point operations of the matrix products of one forward pass, each product once.

    A product of [n, k] with [k, m] counts 2nkm. With B questions, F facts, Q question words, P passes, H hidden and A
    answers:

    - input fusion: 2 directions x 3 gates x (input + recurrent) product    2 * 3 * 2 * 2H^2 = 24H^2 a fact
    - gate, half of W1 z that meets q: [f o q; |f - q|] is 2H wide, once     2 * 2H * H       =  4H^2 a fact
    - gate, half of W1 z that meets m, in every pass                         2 * 2H * H       =  4H^2 a fact and pass
    - gate, W2                                                               2 * H            =  2H   a fact and pass
    - attention GRU, inputs of 2 gates, the same in every pass: once         2 * 2H^2         =  4H^2 a fact
    - attention GRU, recurrence of 2 gates                                   2 * 2H^2         =  4H^2 a fact and pass
    - question: 3 gates x (input + recurrent) product                        3 * 2 * 2H^2     = 12H^2 a question word
    - memory update of [m; c; q]                                             2 * 3H * H       =  6H^2 a pass
    - answer of [q; m]                                                       2 * 2H * A       =  4HA  a question

    Element-wise work (nonlinearities, position encoding, softmax, interpolation) is not counted.
    """
    B, F, P, H = shape.batch, shape.facts, shape.passes, shape.hidden
    a_fact = 24 * H**2 + 4 * H**2 + 4 * H**2 + P * (4 * H**2 + 2 * H + 4 * H**2)
    a_question = QUESTION_WORDS * 12 * H**2 + P * 6 * H**2 + 4 * H * ANSWERS
    return B * (F * a_fact + a_question)


def training_operations(shape: Shape) -> int:
    """Of a training step: the gradients of a product by its two factors are a product of the same size each."""
    return 3 * forward_operations(shape)


def baseline_bytes(shape: Shape, *, training: bool) -> int:
    """About what the baseline needs for one forward pass, or for a training step that keeps it all for backward."""
    W, H, P = 6, shape.hidden, shape.passes
    cells = shape.batch * shape.facts
    # Numbers kept a fact: words, their weights and their product; two cells of 14H or so; gate and cell a pass.
    kept = 3 * W * H + 28 * H + P * 22 * H
    # Without a backward pass, the words or the largest step of the gate, and the states.
    alive = 3 * W * H + 8 * H
    return 4 * cells * (kept if training else alive)
