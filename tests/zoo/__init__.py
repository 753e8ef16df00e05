"""The zoo: architectures built by script, exported to ONNX, and explained. `make zoo` runs all of it."""
