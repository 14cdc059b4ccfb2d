"""Random images of live traffic, kept on disk where the operator asks for it, to calibrate on."""
