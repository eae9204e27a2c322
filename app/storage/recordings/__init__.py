"""The stores of recordings: each provides the recording that a task names as `audio_file_id`."""
