"""From the bytes of a request to images: query, body, decoding, within limits."""
