"""Prediction: requests read, networks that run in worker threads, answers written."""
