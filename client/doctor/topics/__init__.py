"""The checks, one file for each kind; `client.doctor.registry` names them all."""
