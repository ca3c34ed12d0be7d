from dmnplus.kernels.gru.reference import gru

__all__ = ["gru"]
