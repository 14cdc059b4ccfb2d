"""From a trained net to the graphs of a bundle: the graph, its cuts, its lower precisions."""
