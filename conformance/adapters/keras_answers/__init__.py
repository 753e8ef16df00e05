"""What iNNvestigate and SignXAI2 answer to the vectors, written as files: `python -m keras_answers innvestigate VECTORS RESULTS`.

They want versions of NumPy and onnx that reflrp does not, so this package imports nothing of reflrp and runs in an environment of
its own, with the folder above it on the path; `reflrp conformance judge` judges the files.
"""
