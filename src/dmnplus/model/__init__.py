"""The network, one file per module of the paper."""

from dmnplus.model.network import DMN, VARIANTS, DropoutMasks, NetworkConfig, Output, attention_losses

__all__ = ["DMN", "VARIANTS", "DropoutMasks", "NetworkConfig", "Output", "attention_losses"]
