"""The family of models that onnx-asr runs, and how ONNX Runtime runs any network."""
