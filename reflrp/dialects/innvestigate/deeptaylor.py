"""iNNvestigate's deep Taylor decomposition."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp import rules as r
from reflrp.arrays import pos
from reflrp.composites import Pairs, anything, kind, op_type
from reflrp.dialects.innvestigate.alphabeta import Alpha1Beta0IgnoreBiasRule
from reflrp.dialects.innvestigate.base import UNJOINED, UNKNOWN, Analyzer, Setting
from reflrp.dialects.keras import KerasModel
from reflrp.dialects.keras_matchers import Refused
from reflrp.errors import RuleError
from reflrp.ground import checks


class DeepTaylor(Analyzer):
    """Alpha1Beta0IgnoreBiasRule on layers with a kernel, with or without a ReLU; the gradient everywhere else.

    So it is in iNNvestigate 2.1.2: an Add gives each summand all of the relevance, a BatchNormalization scales it, an
    average pool hands it out in equal parts. A fused ReLU passes, one that is a layer has its gradient. `analyze` starts with
    the ReLU of the output. Other activations are refused, unless disable_model_checks=True lets fused ones pass.
    Parameters as those of `LRP`.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        neuron_selection_mode: str = "max_activation",
        disable_model_checks: bool = False,
    ) -> None:
        setting = Setting(KerasModel.of(model), False)
        checks.flag("disable_model_checks", disable_model_checks, RuleError)
        pairs = (
            *self._input_layers(setting),
            *setting.kernels(Alpha1Beta0IgnoreBiasRule, None, None),
            *_functions(setting, disable_model_checks),
            *setting.gradients(),
        )
        super().__init__(setting.model, pairs, neuron_selection_mode, disable_model_checks)

    def _input_layers(self, setting: Setting) -> Pairs:
        return ()

    def _initial(self, y: np.ndarray, neuron_selection: Any) -> np.ndarray:
        return super()._initial(pos(y), neuron_selection)


def _functions(setting: Setting, disable_model_checks: bool) -> Pairs:
    other = kind("pointwise", "normaliser") & ~op_type("Relu")
    why = "deep Taylor decomposition takes ReLU networks only"
    unknown = kind("diagonal") & ~setting.batchnorm()
    return (
        (UNJOINED, r.Stop()),
        (setting.fused() & (anything() if disable_model_checks else op_type("Relu")), r.Pass()),
        (Refused(other, why), r.Stop()),
        *(() if setting.model else ((Refused(unknown, UNKNOWN), r.Stop()),)),
    )


class BoundedDeepTaylor(DeepTaylor):
    """DeepTaylor with BoundedRule(low, high) on input layers. Raises RuleError where one of both is missing."""

    def __init__(self, model: Any = None, low: Any = None, high: Any = None, **more: Any) -> None:
        if low is None or high is None:
            raise RuleError("BoundedDeepTaylor needs low and high")
        object.__setattr__(self, "bounds", (low, high))
        super().__init__(model, **more)

    bounds: tuple[Any, Any]

    def _input_layers(self, setting: Setting) -> Pairs:
        return setting.kernels(Alpha1Beta0IgnoreBiasRule, self.bounds, None)[:-1]
