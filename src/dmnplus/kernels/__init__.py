"""The recurrences and the attention gate of the network, each as one operator over a whole padded batch.

For inference, all passes of the paper's episodic memory are one operator as well.
"""

from dmnplus.kernels._backend import BACKENDS, backend, get_backend, products, set_backend, takes_cpu
from dmnplus.kernels._build import KernelUnavailableError, matrix_unit, use_matrix_unit
from dmnplus.kernels.attention_gate import attention_gate, attention_gate_half
from dmnplus.kernels.attention_gru import attention_gru
from dmnplus.kernels.episodes import episodes
from dmnplus.kernels.gru import gru
from dmnplus.kernels.linear import linear

__all__ = [
    "BACKENDS",
    "KernelUnavailableError",
    "attention_gate",
    "attention_gate_half",
    "attention_gru",
    "backend",
    "episodes",
    "get_backend",
    "gru",
    "linear",
    "matrix_unit",
    "products",
    "set_backend",
    "takes_cpu",
    "use_matrix_unit",
]
