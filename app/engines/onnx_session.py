"""How networks are run by ONNX Runtime in an engine process."""

import onnxruntime

_ERRORS_ONLY = 3


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Options of a session on so many threads, which logs errors only and holds no memory or cores while idle."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.enable_cpu_mem_arena = False  # saves memory and, as lengths vary, time
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # an idle session leaves its cores to others
    return options
