"""Where onnxruntime and ONNX's reference code differ, which of them is wrong, and by what words of the standard.

Where the standard's text and what all runtimes do are two things, or the standard gives no formula, nothing is drawn; the makers
leave out

- strides beyond the kernel with automatic padding (the padding would be negative),
- `ceil_mode` with `auto_pad` VALID (the standard's formula and ONNX's own shape inference differ by one entry),
- Resize by `pytorch_half_pixel` to length 1, by scales with `align_corners`, and by a scale that leaves the length: see
  docs/operators.md, which says what reflrp does.
"""

from __future__ import annotations

KNOWN: dict[tuple[str, str], str] = {
    ("LogSoftmax", "reference"): "before opset 13 the axes from `axis` on are one; it takes a single one",
    ("Softmax", "reference"): "as LogSoftmax",
    ("BatchNormalization", "reference"): "before opset 14 it divides by another deviation than sqrt(var + epsilon)",
    ("ConvTranspose", "reference"): "automatic padding, output_padding and strides beyond the kernel",
    ("MaxPool", "reference"): "the places of maxima in the second sample begin at 0 again",
    ("GlobalMaxPool", "reference"): "of maps with one axis it takes the maximum over channels too",
    ("AveragePool", "reference"): "over three axes with `ceil_mode` it counts entries beyond the border",
    ("GroupNormalization", "reference"): "its deviation is off from the sixth digit on",
    ("LRN", "reference"): "it normalises the first channels only",
    ("GRU", "reference"): "other directions, `clip`, sequence lengths, and `linear_before_reset`",
    ("LSTM", "reference"): "as GRU",
    ("RNN", "reference"): "as GRU",
    ("Loop", "reference"): "without a condition it makes no turn",
}
"""(operator, who is wrong) -> why. `both` in forward.py takes the other's word then, where the two differ."""
