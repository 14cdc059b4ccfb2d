"""Methods of training at the scale of the paper."""
