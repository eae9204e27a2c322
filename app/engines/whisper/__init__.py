"""The family of Whisper models, run by faster-whisper and CTranslate2, with the bundled one."""
