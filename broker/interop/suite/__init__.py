"""Runs foreign RocketMQ clients against RingMQ and compares what they see. `../README.md` says how."""
