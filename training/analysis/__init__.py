"""Analysis of a trained run: conflicts of its exits' gradients, and the parameters that matter to each."""
