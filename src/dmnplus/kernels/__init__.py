"""The two recurrences of the network, each as one operator over a whole padded batch."""

from dmnplus.kernels.attention_gru import attention_gru
from dmnplus.kernels.gru import gru

__all__ = ["attention_gru", "gru"]
