"""Dynamic Memory Networks (DMN+, Xiong, Merity and Socher 2016) that answer questions and show why."""

from dmnplus.answering import Answer, QuestionAnswerer, load
from dmnplus.data.example import DataError, Example
from dmnplus.model import DMN, VARIANTS, NetworkConfig

__all__ = ["DMN", "VARIANTS", "Answer", "DataError", "Example", "NetworkConfig", "QuestionAnswerer", "load"]
