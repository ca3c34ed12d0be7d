"""Trained models: those that ship with the package, and where a model's name leads. Without PyTorch until one loads."""

from dmnplus.pretrained.card import Card, read_card, read_examples, size
from dmnplus.pretrained.locate import SHIPPED, locate, shipped

__all__ = ["SHIPPED", "Card", "locate", "read_card", "read_examples", "shipped", "size"]
