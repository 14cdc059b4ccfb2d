"""The training side: data, multi-exit models, the methods that fuse their exits' gradients, and export."""
