"""The comparison of methods: which runs it takes, what they came to, and how that is written down."""
