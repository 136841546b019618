"""Models: what they declare, where they come from, and the ones that are loaded."""

from guardhouse.interceptors.validation.signature import Signature, Tensor

from .base import Model, ModelBroken, ModelLoadError, model
from .registry import Models, Source

__all__ = ["Model", "ModelBroken", "ModelLoadError", "Models", "Signature", "Source", "Tensor", "model"]
