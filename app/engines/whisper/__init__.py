"""The family of Whisper models, which faster-whisper and CTranslate2 run; the bundled model is one of them."""
