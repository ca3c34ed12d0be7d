from dmnplus.kernels.attention_gru.reference import attention_gru

__all__ = ["attention_gru"]
