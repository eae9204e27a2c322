"""The options with which ONNX Runtime runs networks in an engine process."""

import onnxruntime

_ERRORS_ONLY = 3


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Return the options of an ONNX Runtime session that runs each operator of a model on `threads` threads.

    The CPU memory arena is off, so the session holds no memory in reserve. Idle threads sleep instead of spinning.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    options.enable_cpu_mem_arena = False  # an arena needs more memory, and more time because input lengths vary
    # The threads of an idle session sleep instead of using their cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
