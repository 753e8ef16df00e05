"""The names of torch.nn, as matchers of nodes. Modules that ONNX writes as one operator are one matcher twice."""

from __future__ import annotations

from reflrp.composites.matchers import op_type
from reflrp.dialects.zennit import types
from reflrp.dialects.zennit.types import Dimensions, activation

Linear = types.DenseLinear
Conv1d = types.ConvolutionStandard & Dimensions(1, 1)
Conv2d = types.ConvolutionStandard & Dimensions(2, 2)
Conv3d = types.ConvolutionStandard & Dimensions(3, 3)
ConvTranspose1d = types.ConvolutionTranspose & Dimensions(1, 1)
ConvTranspose2d = types.ConvolutionTranspose & Dimensions(2, 2)
ConvTranspose3d = types.ConvolutionTranspose & Dimensions(3, 3)
BatchNorm1d = types.BatchNorm & Dimensions(0, 1)
BatchNorm2d = types.BatchNorm & Dimensions(2, 2)
BatchNorm3d = types.BatchNorm & Dimensions(3, 3)
AvgPool1d = op_type("AveragePool") & Dimensions(1, 1)
AvgPool2d = op_type("AveragePool") & Dimensions(2, 2)
AvgPool3d = op_type("AveragePool") & Dimensions(3, 3)
AdaptiveAvgPool1d = AdaptiveAvgPool2d = AdaptiveAvgPool3d = types.GlobalAvgPool
MaxPool1d = op_type("MaxPool") & Dimensions(1, 1)
MaxPool2d = op_type("MaxPool") & Dimensions(2, 2)
MaxPool3d = op_type("MaxPool") & Dimensions(3, 3)
AdaptiveMaxPool1d = AdaptiveMaxPool2d = AdaptiveMaxPool3d = types.GlobalMaxPool

CELU = activation("Celu")
ELU = activation("Elu")
GELU = activation("Gelu", "GeluTanh")
Hardshrink = Softshrink = activation("Shrink")
Hardsigmoid = activation("HardSigmoid")
Hardswish = activation("HardSwish")
Hardtanh = ReLU6 = activation("Clip")
LeakyReLU = RReLU = activation("LeakyRelu")
LogSigmoid = activation("LogSigmoid")
Mish = activation("Mish")
PReLU = activation("PRelu")
ReLU = activation("Relu")
SELU = activation("Selu")
Sigmoid = activation("Sigmoid")
SiLU = activation("Swish")
Softmax = op_type("Softmax")
Softplus = activation("Softplus")
Softsign = activation("Softsign")
Tanh = activation("Tanh")
Tanhshrink = activation("Tanhshrink")
Threshold = activation("ThresholdedRelu")
