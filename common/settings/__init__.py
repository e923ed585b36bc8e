"""The tables of a `study.toml`, one a file; `common.study` puts them together."""
