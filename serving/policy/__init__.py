"""Pure maths from calibration scores and a budget to thresholds."""
