"""Engines: the same network run by ONNX Runtime or OpenVINO; exported, checked against torch, stored, and run."""
