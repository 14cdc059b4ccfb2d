"""The operating system: whole files, plain files, locks on addresses, and the limits of the container."""
