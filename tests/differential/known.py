"""Where onnxruntime and ONNX's reference code differ, which of them is wrong, and by what words of the standard."""

from __future__ import annotations

KNOWN: dict[tuple[str, str], str] = {
    ("LogSoftmax", "reference"): "before opset 13 the axes from `axis` on are one; it takes a single one",
    ("Softmax", "reference"): "as LogSoftmax",
    ("BatchNormalization", "reference"): "before opset 14 it takes the deviation for the variance",
    ("ConvTranspose", "reference"): "automatic padding, output_padding and strides beyond the kernel",
    ("MaxPool", "reference"): "the places of maxima in the second sample begin at 0 again",
    ("GlobalMaxPool", "reference"): "of maps with one axis it takes the maximum over channels too",
    ("GRU", "reference"): "other directions, `clip`, and `linear_before_reset`",
    ("LSTM", "reference"): "as GRU",
    ("RNN", "reference"): "as GRU",
    ("Loop", "reference"): "without a condition it makes no turn",
    ("LRN", "reference"): "it normalises the first channels only",
    ("AveragePool", "reference"): "over three axes with `ceil_mode` it counts entries beyond the border",
}
"""(operator, who is wrong) -> why."""
