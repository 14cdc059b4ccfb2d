"""What a trained run says of its exits: how their gradients conflict, and which parameters matter to whom."""
