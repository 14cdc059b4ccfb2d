"""Arrays to probabilities: the only package that talks to ONNX Runtime and OpenVINO."""
