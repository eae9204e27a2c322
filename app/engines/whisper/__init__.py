"""The family of Whisper models, run by faster-whisper and CTranslate2, including the bundled model."""
