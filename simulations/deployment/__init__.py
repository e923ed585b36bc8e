"""A real Flower deployment on this machine: SuperLink, superexec and SuperNodes over TLS, and what can befall them."""
