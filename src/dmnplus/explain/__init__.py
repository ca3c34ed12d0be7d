"""Why the network answers as it does: where each pass looked, and how the answer moves with the story."""

from dmnplus.explain.what_if import Change, Explanation, explain

__all__ = ["Change", "Explanation", "explain"]
