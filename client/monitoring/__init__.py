"""What a hospital's own people see of their site: figures and health on its loopback address. None of it leaves."""
