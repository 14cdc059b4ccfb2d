"""The Open Inference Protocol over gRPC, in the same process and by the same path as over HTTP."""
