"""Generative processes: noise schedules, diffusion, samplers, adversarial losses."""
