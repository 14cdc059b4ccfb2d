"""earlyon beside `offramp adopt`: the same trained network, the same images, at least the same minutes."""
