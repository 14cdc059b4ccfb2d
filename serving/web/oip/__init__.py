"""Open Inference Protocol v2: tensors in and out over the same path as `POST /classify`."""
