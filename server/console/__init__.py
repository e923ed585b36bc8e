"""The web console: where a consortium stands, for people who watch it, and the buttons that pause, resume, stop.

It shows what `server/facts` says and asks what `server/operation/steering` asks; it holds no state of the
consortium of its own.
"""
