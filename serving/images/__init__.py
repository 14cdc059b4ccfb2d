"""From the bytes of an image to a uint8 array; no bundles and no HTTP here."""
