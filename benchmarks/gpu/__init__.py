"""Features on the device and on the host, in float32 and float16, on every execution provider at hand."""
