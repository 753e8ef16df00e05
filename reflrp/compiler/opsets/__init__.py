"""A model at a newer opset: what each operator became, and what of onnxruntime is otherwise."""
