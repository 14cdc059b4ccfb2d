"""Several processes that serve one address: a parent that answers for all, and children that compute.

The parent takes the ports, starts the children, replaces one that dies, and holds what there is once: the
admin port, the state directory, the labels. The children share the public port, and each is a whole server
with its own event loop, threads and arena. A child answers images itself and asks the parent for all else;
the parent adds up what the children say. They talk over a pair of connected Unix sockets (`link`).
"""
