"""The stores of recordings, where `audio_file_id` names a recording."""
